# The command `hpo` and Ray in one image, for Kubernetes (kuberay.yaml) and for single machines:
#
#     docker build --tag stgcn-student-search:ray-2.60.0 .
#     docker run --rm --shm-size 2g --volume "$PWD:/sweeps" --workdir /sweeps stgcn-student-search:ray-2.60.0 hpo status
#
# docs/cluster.md says what was tried. Head, workers and constraints.txt must have one version of Ray.
FROM rayproject/ray:2.60.0-py312-gpu

WORKDIR /home/ray/stgcn-student-search

# The pinned dependencies, in a layer that is built again only when they change.
COPY --chown=ray:users pyproject.toml constraints.txt ./
RUN python -c "import tomllib; project = tomllib.load(open('pyproject.toml', 'rb'))['project']; print(*project['dependencies'], *project['optional-dependencies']['fast'], sep='\n')" > requirements.txt
RUN pip install --no-cache-dir --constraint constraints.txt --requirement requirements.txt

# The project itself, as a wheel.
COPY --chown=ray:users README.md LICENSE ./
COPY --chown=ray:users core core
COPY --chown=ray:users hpo hpo
COPY --chown=ray:users search_spaces search_spaces
COPY --chown=ray:users stgcn_student_search stgcn_student_search
RUN pip install --no-cache-dir --no-deps .

# Elsewhere than in the sources, as it will run.
WORKDIR /home/ray
RUN hpo --version && hpo data list
