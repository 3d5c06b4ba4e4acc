"""The checks of one pytest run: of the command line before the first test, of the whole run after the last."""

from __future__ import annotations

from collections.abc import Mapping

from pytest_wasmedge.contract import conclusions
from pytest_wasmedge.contract.explaining import Unexplained
from pytest_wasmedge.drivers.pool import explain
from pytest_wasmedge.errors import RuntimeUnavailableError, WasmEdgeError
from pytest_wasmedge.plugin import agreement
from pytest_wasmedge.plugin.options import GOLDEN
from pytest_wasmedge.plugin.session import WasmSession
from pytest_wasmedge.reports.record import RunRecord


def check(session: WasmSession) -> None:
    """Raise WasmEdgeError if the command line asks for something impossible, before any test runs."""
    options, selection = session.options, session.selection
    _ = session.held.contract, session.baseline, session.programs, session.given_cases
    required = selection.select(options.require) if options.require else []
    if options.shard and (options.update_contract or options.update_golden):
        raise WasmEdgeError(
            "--wasm-shard runs a part of the tests, and what --wasm-update-contract and --wasm-update-golden write is "
            "about all of them. Leave one of the options out."
        )
    not_selected = [runtime.name for runtime in required if runtime not in selection.selected]
    if not_selected and options.require != "all":
        raise WasmEdgeError(
            f"--wasm-require names {', '.join(not_selected)}, which --runtimes does not select: "
            "it would not be run. Add it to --runtimes."
        )


def check_runtimes(session: WasmSession) -> None:
    """Raise RuntimeUnavailableError if a runtime is asked for that cannot run, on any machine of the run."""
    options, selection = session.options, session.selection
    required = selection.select(options.require) if options.require else []
    asked_for = [*selection.named(), *required]
    if options.reference not in ("", GOLDEN):
        asked_for.append(session.reference.runtime)
    missing = [
        explain(runtime, availability)
        for runtime in dict.fromkeys(asked_for)
        if not (availability := session.pool.availability(runtime)).available
        # A runtime that lacks what this artifact needs is listed; it is an error only if it is required.
        and (not availability.lacks or runtime in required)
    ]
    if missing:
        raise RuntimeUnavailableError("cannot run here, but asked for:\n  " + "\n  ".join(missing))


def new_record(session: WasmSession) -> RunRecord:
    """Return a new record that lists the selected runtimes."""
    record = RunRecord(session.artifact, str(session.reference), session.baseline, session.options.shard)
    record.machine = session.machine or record.machine
    for runtime in session.selection.selected:
        record.add_runtime(runtime, session.pool.availability(runtime))
    session.promised.update(runtime.name for runtime in session.available)
    for runtime in session.available:
        if runtime.deployed:
            from pytest_wasmedge.runtimes.remote import Remote

            if isinstance(runtime, Remote) and (missing := runtime.cannot_check()):
                record.closing.append((f"{runtime.name}: {missing}", "warn"))
    record.closing += [(note, "warn") for note in (*session.selection.resolver.notes, *session.notes)]
    return record


def conclude(session: WasmSession, record: RunRecord, new: Mapping[tuple[str, str], Unexplained]) -> None:
    """Judge the whole run by the contract, or write the contract. Raises ContractError.

    ``new`` is what diverges in each (case, runtime) and no entry of the contract explains.
    """
    held, known, options = session.held, session.selection.known, session.options
    work = (
        session.working.conclude(record, held.contract, options.work_margin, writing=options.update_contract)
        if record.ran
        else {}
    )
    if held.contract is not None and record.ran:
        conclusions.check_limits(record, held.contract)
        ceilings = {name: held.ceilings(known[name]) for name, row in record.runtimes.items() if row.ran}
        conclusions.list_vague(record, held.contract)
        # What a shard did not judge, another one has; what has disappeared shows when their records are merged.
        if not options.shard:
            conclusions.find_stale(
                record, held.contract, (*session.cases, *session.given_cases, *session.programs)
            )
            conclusions.list_unjudged(record, held.contract, ceilings)
    agreement.list_disagreements(record)
    if session.options.update_golden and record.ran:
        agreement.write_goldens(session, record)
    if session.baseline and record.ran and not sum(record.compared.values()):
        record.broken.append(
            "0 outcomes were compared with the baseline: no test that ran has invoked a host. "
            "Run tests that do, such as those of --wasm-conformance."
        )
    if session.options.update_contract and held.path is not None:
        # A deployed edge is known only to a run that is given its URL: others could not read a contract that names it.
        lasting = {
            (case, name): unexplained
            for (case, name), unexplained in new.items()
            if name in record.runtimes and not known[name].deployed
        }
        conclusions.write_contract(
            record, held.path, conclusions.drafts(record, held.contract, lasting), work
        )
