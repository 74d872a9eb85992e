"""service/cloud/aws/*.yaml, by cfn-lint, and against what the service can do."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from cfnlint.decode import decode

from service.events.codec import REPLIES, REQUESTED
from service.settings import Settings
from tests.support.serving import ROOT

AWS = ROOT / "service" / "cloud" / "aws"
FILES = sorted(AWS.glob("*.yaml"))
PARAMETER = re.compile(r"  SnapStart:\n(?:    .*\n)+")


def _resources(name: str) -> Any:
    template, faults = decode(str(AWS / name))
    assert not faults
    assert template
    return template["Resources"]


@pytest.fixture
def function() -> Any:
    return _resources("template.yaml")["Function"]["Properties"]


def test_cfn_lint_finds_nothing() -> None:
    assert [file.name for file in FILES] == ["pipe.yaml", "template.yaml"]
    done = subprocess.run(
        [Path(sys.executable).with_name("cfn-lint"), *FILES], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def _lint(folder: Path, text: str) -> str:
    file = folder / "template.yaml"
    file.write_text(text)
    done = subprocess.run(
        [Path(sys.executable).with_name("cfn-lint"), file], capture_output=True, text=True, check=False
    )
    return done.stdout


def test_a_snapshot_is_an_option_and_belongs_to_a_version(tmp_path: Path, function: Any) -> None:
    text = (AWS / "template.yaml").read_text()
    parameter = decode(str(AWS / "template.yaml"))[0]["Parameters"]["SnapStart"]
    assert (parameter["Default"], parameter["AllowedValues"]) == ("None", ["None", "PublishedVersions"])
    assert function["SnapStart"] == {"ApplyOn": {"Ref": "SnapStart"}}
    # A new version for whatever is in a snapshot, invoked by its alias.
    assert (function["AutoPublishAlias"], function["AutoPublishAliasAllProperties"]) == ("live", True)
    assert "!Ref Function.Alias" in text
    # docs.aws.amazon.com/lambda/latest/dg/snapstart.html
    assert not function.keys() & {"ProvisionedConcurrencyConfig", "FileSystemConfigs", "EphemeralStorage"}
    on = text.replace("ApplyOn: !Ref SnapStart", "ApplyOn: PublishedVersions").replace(PARAMETER.findall(text)[0], "")
    assert on != text
    assert _lint(tmp_path, on) == ""
    assert "W2530" in _lint(tmp_path, on.replace("AutoPublishAlias: live", ""))


def test_the_part_for_managed_instances_fits_the_template_and_the_memory(tmp_path: Path, function: Any) -> None:
    """What docs/aws-lambda.md says to write instead of the function's memory."""
    docs = (ROOT / "docs" / "aws-lambda.md").read_text()
    (part,) = re.findall(r"```yaml\n(.*?)```", docs, re.DOTALL)
    instead = f"      MemorySize: {function['MemorySize']}\n"
    text = (AWS / "template.yaml").read_text()
    assert instead in text
    assert _lint(tmp_path, text.replace(instead, part)) == ""
    assert "PerMaxConcurrency" in _lint(tmp_path, text.replace(instead, part.replace("PerExecutionEnvironment", "Per")))
    given = yaml.safe_load(part)
    config = given["CapacityProviderConfig"]
    vcpus = given["MemorySize"] / 1024 / config["ExecutionEnvironmentMemoryGiBPerVCpu"]
    assert config["PerExecutionEnvironmentMaxConcurrency"] == vcpus


def test_every_environment_variable_is_a_setting(function: Any) -> None:
    variables = function["Environment"]["Variables"]
    assert variables.keys() <= {name for name, _, _ in Settings.table()}
    _, with_bucket, without = variables["DATAREF_ALLOW"]["Fn::If"]
    assert Settings.from_env({"DATAREF_ALLOW": without}) == Settings()
    allowed = with_bucket["Fn::Sub"].replace("${Photos}", "photos")
    settings = Settings.from_env({**variables, "DATAREF_ALLOW": allowed})
    assert settings.dataref_allow == ("s3://photos/",)
    # A request that waits too long is told so, before the invocation ends without an answer.
    assert settings.request_timeout_ms / 1e3 < function["Timeout"]


def test_two_cpus_come_with_the_memory(function: Any) -> None:
    from service.runtime import cpu

    assert cpu.of_lambda(function["MemorySize"]) == 2
    assert cpu.of_lambda(function["MemorySize"] + 1) == 3


def test_only_messages_that_failed_come_back(function: Any) -> None:
    assert function["Events"]["Queue"]["Properties"]["FunctionResponseTypes"] == ["ReportBatchItemFailures"]


def test_a_rule_takes_requests_and_no_replies(function: Any) -> None:
    """Replies that it took would go round."""
    assert function["Events"]["Bus"]["Properties"]["Pattern"] == {"detail-type": [REQUESTED]}
    bus = _resources("pipe.yaml")["Pipe"]["Properties"]["TargetParameters"]["EventBridgeEventBusParameters"]
    assert bus["DetailType"] not in (REQUESTED, *REPLIES)


@pytest.mark.parametrize("name", [file.name for file in FILES])
def test_what_always_fails_is_given_up(name: str, function: Any) -> None:
    resources = _resources(name)
    requests = resources["Requests"]["Properties"]
    assert requests["RedrivePolicy"]["deadLetterTargetArn"] == {"Fn::GetAtt": ["DeadLetters", "Arn"]}
    assert 1 < requests["RedrivePolicy"]["maxReceiveCount"] < 10
    # docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html: six times the function's timeout
    assert requests["VisibilityTimeout"] >= 6 * function["Timeout"]


def test_what_is_not_waited_for_has_a_place_for_its_reply_and_for_its_failure(function: Any) -> None:
    places = function["EventInvokeConfig"]["DestinationConfig"]
    assert places.keys() == {"OnSuccess", "OnFailure"}
    assert places["OnSuccess"]["Destination"] == {"Fn::GetAtt": ["Replies", "Arn"]}


def test_a_bucket_tells_the_queue_what_the_function_may_read() -> None:
    resources = _resources("template.yaml")
    bucket, policy = resources["Photos"], resources["PhotosToRequests"]
    assert bucket["Condition"] == policy["Condition"] == "HasBucket"
    (told,) = bucket["Properties"]["NotificationConfiguration"]["QueueConfigurations"]
    (allowed,) = policy["Properties"]["PolicyDocument"]["Statement"]
    assert told == {"Event": "s3:ObjectCreated:*", "Queue": {"Fn::GetAtt": ["Requests", "Arn"]}}
    assert (allowed["Resource"], allowed["Principal"]) == (told["Queue"], {"Service": "s3.amazonaws.com"})
    # The transform takes an `If` for a policy, not for the list of them (aws-sam-translator 1.115.0: "Policy at index 0 in
    # the 'Policies' property is not valid"); cfn-lint finds nothing in either.
    (policy_or_none,) = resources["Function"]["Properties"]["Policies"]
    condition, given, _ = policy_or_none["Fn::If"]
    assert condition == "HasBucket"
    assert given["Statement"][0]["Action"] == ["s3:GetObject", "s3:GetObjectVersion"]


def test_the_image_is_that_of_the_dockerfile() -> None:
    assert re.search(r"^FROM service AS lambda$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
