"""Commands on sweeps: begin, resume, clone, watch and look into them."""
