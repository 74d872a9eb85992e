"""`make bench`: this service against other ways to serve the same model, side by side in one run.

__main__.py        the order of the parts
arguments.py       what it is asked for, and which tools that needs: read before anything is set up
made.py            images and artifacts that `make` makes, where they are missing
lineup.py          what is compared: how each is started and asked
sides/             the programs compared: hello, eager (also on Lambda), mosec, LitServe, the in-process loop, zoo_model
environments.py    mosec and LitServe, each in an environment of its own
process.py         one side: started, asked, weighed, stopped
photo.py           the picture that is sent, and its right answer
start.py           part 1: start to first correct prediction, phase by phase
load.py, post.lua  wrk: requests a second, p50 and p99
throughput.py      part 2: every side under load, and its memory
forward.py         part 3: both engines without HTTP
on_lambda.py       part 4: AWS Lambda's init phase, and the first answer after it
limits.py          part 5, only by `--only docker`: the images under limits of CPU and memory
perf_analyzer.py   part 7, only by `--only perf-analyzer`: Triton's load generator beside wrk
machine.py         what it was measured on
figures.py         samples -> medians, minima, ratios against the targets
report.py          figures -> table and JSON
picture.py         figures -> picture
vectors.py         by itself, `python -m tests.benchmark.vectors`: vector code by scalar code
budget.py          what a start and a wake may take of a hello-world's
zoo.py             by itself, `python -m tests.benchmark.zoo`: a table of torchvision's classifiers
costs.py           what a month costs in each place: a model, no measurement
cluster/           `make bench-cluster`: the wake from zero pods, on a real cluster
"""
