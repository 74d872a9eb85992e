"""Tests on a real cluster with Knative: they run when one is reachable, on the images that `make image` built.

conftest.py      the cluster, the image in it, a namespace of our own
knative.py       Cluster: apply, wait, look, delete; Route: requests through the gateway
deployment.py    Deployed: overlays/deployment, which has no Knative in it, at its node port
asynchronous.py  overlays/kind-async, with recorder.py, which keeps all replies
patience.py      Knative's own pods, made to outlive the load
load.py          Load: clients that ask all the time, and what became of every request; burst: all at the same time
"""
