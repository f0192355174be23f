"""The commands on the image: build it, push it."""

from __future__ import annotations

import os
from dataclasses import asdict

from mclass_tf import flows
from mclass_tf.cli.call import Call, each, open_environment
from mclass_tf.cli.outcome import CommandOutcome


def build(call: Call) -> CommandOutcome:
    arguments = call.arguments
    request = flows.BuildRequest(
        tag=arguments.tag,
        builder=arguments.builder,
        may_use_builtin=arguments.local,
        arguments=tuple(arguments.build_arg),
        contexts=tuple(arguments.build_context),
        architecture=arguments.architecture or "",
    )
    built = flows.build_image(call.project, request=request, report=call.reporter.line, env=dict(os.environ))
    document = {
        "digest": built.digest,
        "tag": built.tag,
        "revision": built.revision,
        "builder": built.builder,
        "size": built.size,
        "layout": str(built.folder),
    }
    return CommandOutcome(text=built.digest, document=document)


def push(call: Call) -> CommandOutcome:
    arguments = call.arguments

    def one(name: str) -> CommandOutcome:
        pushed = flows.push_image(open_environment(call, name), digest=arguments.image, tag=arguments.tag)
        if not pushed.changed:
            call.reporter.line(f"{pushed.tag} already names this image: nothing was sent")
        return CommandOutcome(text=pushed.digest, document={"environment": name, **asdict(pushed)})

    return each(call, one)
