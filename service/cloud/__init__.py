"""The service as a function, where the platform serves HTTP: the same application, behind maintained adapters.

startup.py     the application, loaded and self-tested before the first request
posting.py     posts an event to the application, without a server
aws_lambda.py  AWS Lambda: API Gateway and function URLs (apig-wsgi), SQS, EventBridge and its Pipes
functions.py   Google Cloud Functions: entry points for HTTP and for CloudEvents
snapshot.py    AWS Lambda SnapStart: what is closed before the snapshot, and what must differ after it
framework.py   `python -m service.cloud.framework`: the functions-framework that calls them
aws/           CloudFormation: the function with its URL, queue and rule; a pipe; none of it is in an image
"""

from typing import TYPE_CHECKING

from service.late import files_of

if TYPE_CHECKING:
    from service.cloud import aws_lambda, framework, functions, posting, snapshot, startup

__all__ = ["aws_lambda", "framework", "functions", "posting", "snapshot", "startup"]
__getattr__ = files_of(__name__)
