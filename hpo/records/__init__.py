"""One sweep on a storage: its layout, plan, ledger, records and students. Runs nothing."""
