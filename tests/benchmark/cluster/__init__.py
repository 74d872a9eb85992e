"""`make bench-cluster`: a wake from zero pods on a real cluster, against a hello-world and a tutorial's service.

__main__.py     the order of the parts
environment.py  what has to be there: the cluster, its tools, a moment of quiet
images.py       builds the images that are missing, puts all of them into the cluster, weighs them
lineup.py       what is compared: the Knative Service of each side, derived from knative/overlays/kind
timeline.py     one wake, split: the cluster's part, the process's own account, the probe, the answer
watch.py        when pods appear and become ready, as the API tells it
cold.py         part 1: one request to each side at zero pods, round after round
scale.py        part 2: time to the second pod under load
warm.py         part 3: p50 and p99 through the route, one pod each
later.py        part 4: events and requests, each beside the other, and answers later
places.py       only when asked for: the same photo as a process, in Docker, as a function, on Knative, in a Deployment
figures.py      samples -> medians, ratios against the targets
report.py       figures -> table and JSON
picture.py      figures -> picture
"""
