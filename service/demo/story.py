"""The demo from training to verified report, told as it happens."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from rich.console import Console
from torch import nn

from auditor.attest.trust import TrustFile, trust_key
from auditor.attest.verify import Verification, verify_bundle
from auditor.edge.clock import Clock
from auditor.edge.folder import LOG_FILE, read_log
from auditor.effects import Better, QueryKind
from auditor.errors import VerificationError
from auditor.plan.request import AuditRequest
from auditor.report.schema import Report
from auditor.stagelog.digest import sha256
from service.cli.remote_audit import RemotePlaces, follow
from service.cli.request_file import read_request, resolve_request
from service.client import Client
from service.demo.claims import Claim, ComparedRow, check_claims, compare
from service.demo.data import CUE_CLASS
from service.demo.draws import reference_rows
from service.demo.embedded import Embedded, embedded_service
from service.demo.pages import (
    print_comparison,
    print_disagreements,
    print_next_steps,
    print_telemetry,
    say,
)
from service.demo.recording import (
    DemoFolders,
    record_training,
    write_evaluation_data,
    write_model,
)
from service.demo.request import write_request
from service.demo.training import Pipeline, plan_pipeline
from service.demo.truth import accuracy, exact_effects, probability

PUBLIC_KEY: Final = "signing.pub.pem"


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoOutcome:
    """What the demo found."""

    report: Report
    rows: tuple[ComparedRow, ...]
    claims: tuple[Claim, ...]
    seconds: float

    @property
    def holds(self) -> bool:
        """Whether every claim holds."""
        return all(claim.holds for claim in self.claims)


@dataclass(frozen=True, kw_only=True, slots=True)
class Teller:
    """Prints numbered headings with the time each part took."""

    console: Console
    clock: Clock

    @contextmanager
    def part(self, title: str) -> Iterator[Callable[[str], None]]:
        """Head a part of the story.

        Yields:
            What prints a line of it, indented.
        """
        began = self.clock.monotonic()
        self.console.print(f"\n[bold]{title}[/]")
        yield lambda text: say(text, console=self.console)
        self.console.print(f"  [dim]({self.clock.monotonic() - began:.1f} s)[/]")


def run_demo(
    root: Path, *, console: Console, clock: Clock, seed: int, next_step: str
) -> DemoOutcome:
    """Train, serve, push, audit, compare with exact truth, verify.

    Args:
        root: Receives everything the demo makes.
        console: Where the story is told.
        clock: For the times shown.
        seed: Of split, initial values and batch order.
        next_step: Command that leads into the folder, where the demo's suggestions work.

    Returns:
        The report, its rows beside the truth, and whether the demo's claims hold.

    Raises:
        AuditorError: If a part fails.
    """
    began = clock.monotonic()
    folders = DemoFolders(root=root)
    teller = Teller(console=console, clock=clock)
    console.print("[bold]Which training stage taught this model to read a bright patch as a 3?[/]")

    pipeline, model = _train(folders, teller, seed=seed)
    with embedded_service(folders.service) as service, _client(service) as client:
        request = _push(client, folders, teller, service=service)
        bundle, report = _audit(client, request, folders, teller=teller)
        _ask_again(client, request, teller)
        telemetry = service.metrics()
    rows = _compare(report, request, folders, teller=teller, pipeline=pipeline, model=model)
    verified = _verify(bundle, folders, teller)
    with teller.part("7  What the service says it did (/metrics)"):
        print_telemetry(telemetry, console=console)
    outcome = DemoOutcome(
        report=report,
        rows=rows,
        claims=(*check_claims(rows), *verified),
        seconds=clock.monotonic() - began,
    )
    _conclude(outcome, console)
    print_next_steps(next_step, console=console)
    return outcome


def _train(folders: DemoFolders, teller: Teller, *, seed: int) -> tuple[Pipeline, nn.Module]:
    with teller.part("1  Train in three stages, and record") as line:
        pipeline = plan_pipeline(seed)
        data = pipeline.data
        vendor = data.stages["vendor"]
        planted = vendor.source.count("vendor-b")
        threes = int((vendor.label == CUE_CLASS).sum())
        line(
            "scikit-learn's digits, 64-32-10 network, SGD with momentum. pretrain: clean. vendor: "
            f"{planted} of its {threes} threes carry a bright corner patch. finetune: clean."
        )
        model = record_training(pipeline, folders.log)
        write_model(model, folders.model)
        write_evaluation_data(pipeline, folders)
        write_request(folders.request)
        log, digest, _ = read_log(folders.log)
        line(f"{log.stages[-1].end_step} steps recorded: log {digest[:12]}…, level {log.level}")
        before, after = (probability(model, part.image) for part in (data.control, data.treated))
        line(
            f"The model reads {accuracy(model, data):.0%} of held-out digits. Put the patch on one "
            f"that is no 3, and its probability of being a 3 goes from {before:.0%} to {after:.0%}."
        )
    return pipeline, model


def _client(service: Embedded) -> Client:
    token = (service.data_dir / "token").read_text().strip()
    return Client(service.address, token=token)


def _push(
    client: Client, folders: DemoFolders, teller: Teller, *, service: Embedded
) -> AuditRequest:
    with teller.part("2  Start a service, push log, data and model") as line:
        places = RemotePlaces(client, scratch=folders.root / "scratch", quiet=False)
        request = resolve_request(read_request(folders.request), base=folders.root, places=places)
        line(f"service on {service.address}, metrics on {service.metrics_address}")
        line(f"request.yaml: {len(request.queries)} queries × {len(request.interventions)} "
            "interventions (skip and replace each stage)")  # fmt: skip
    return request


def _audit(
    client: Client, request: AuditRequest, folders: DemoFolders, *, teller: Teller
) -> tuple[bytes, Report]:
    with teller.part("3  Audit") as line:
        name = client.create_audit(request)
        bundle = client.get_report(follow(client, name, quiet=False))
        folders.report.write_bytes(bundle)
        report = _verified(bundle, folders).report
        settings = report.estimator.settings.model_dump(exclude={"id"})
        text = ", ".join(f"{key} {value}" for key, value in settings.items())
        line(f"estimator {report.estimator.id} ({text}), {report.cost.gradient_examples} "
            "gradient-examples")  # fmt: skip
        line(report.log.consistency_statement)
    return bundle, report


def _ask_again(client: Client, request: AuditRequest, teller: Teller) -> None:
    """A second question about the same log costs forward passes only."""
    with teller.part("4  Ask another question about the same log: accuracy") as line:
        loss = request.queries[0]
        another = request.model_copy(
            update={
                "queries": (
                    loss.model_copy(
                        update={
                            "name": "accuracy",
                            "kind": QueryKind.ACCURACY,
                            "better": Better.HIGHER,
                        }
                    ),
                )
            }
        )
        plan = client.plan_audit(another)
        kinds = {action["kind"] for action in plan["actions"] if not action["cached"]}
        client.get_report(follow(client, client.create_audit(another), quiet=False))
        line(f"{len(plan['actions']) - plan['actions_to_run']} of {len(plan['actions'])} actions "
            f"were there already; to run: {', '.join(sorted(kinds))}")  # fmt: skip


def _compare(
    report: Report,
    request: AuditRequest,
    folders: DemoFolders,
    *,
    teller: Teller,
    pipeline: Pipeline,
    model: nn.Module,
) -> tuple[ComparedRow, ...]:
    with teller.part("5  Beside the exact truth: every intervention trained again in plain torch"):
        drawn = reference_rows(
            request,
            log=folders.log,
            reference=folders.evaluation_set("reference"),
            scratch=folders.root / "scratch",
        )
        truth = exact_effects(pipeline, final=model, reference_rows=drawn)
        rows = compare(report.effects, truth)
        print_comparison(report, rows, console=teller.console)
        print_disagreements(report, rows, console=teller.console)
    return rows


def _verified(bundle: bytes, folders: DemoFolders) -> Verification:
    """Verify as ``stageaudit verify REPORT FILES --key PUB`` does."""
    public = (folders.service / "keys" / PUBLIC_KEY).read_text()
    trust = TrustFile(keys=(trust_key(public, name="the demo's service"),))
    files = {
        LOG_FILE: sha256((folders.log / LOG_FILE).read_bytes()),
        folders.model.name: sha256(folders.model.read_bytes()),
    }
    return verify_bundle(bundle, trust, files=files)


def _verify(bundle: bytes, folders: DemoFolders, teller: Teller) -> tuple[Claim, ...]:
    with teller.part("6  Verify the signed report offline") as line:
        verification = _verified(bundle, folders)
        for check in verification.checks:
            line(f"ok {check.number} {check.name}: {check.detail}")
        changed = bundle.replace(b'"payload":"', b'"payload":"A', 1)
        try:
            _verified(changed, folders)
        except VerificationError as error:
            line(f"and with one character added: refused, {error.where}")
            refused = True
        else:
            refused = False
        line(
            f"{len(verification.report.limitations)} limitations are part of the report; "
            "`stageaudit verify` prints them"
        )
    return (
        Claim(text="the report verifies against log and model", holds=True),
        Claim(text="a changed report is refused", holds=refused),
    )


def _conclude(outcome: DemoOutcome, console: Console) -> None:
    console.print("\n[bold]Result[/]")
    for claim in outcome.claims:
        mark = "[green]holds[/]" if claim.holds else "[bold red]FAILS[/]"
        console.print(f"  {mark}  ", end="")
        console.print(claim.text, markup=False)
    inside = sum(row.inside for row in outcome.rows)
    console.print(
        f"  {inside} of {len(outcome.rows)} exact figures lie in their 90 % intervals; "
        f"{outcome.seconds:.0f} s in all",
        markup=False,
    )


def one_thread() -> None:
    """Keep this process to one core: the service's worker has the others."""
    torch.set_num_threads(1)
