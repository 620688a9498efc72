"""Cross-field rules of parameters: ties, groups, and what each transition changes."""

from auditor.errors import StageLogError
from auditor.stagelog.log import Stage, StageLog, Transition


def present_at_start(log: StageLog) -> frozenset[str]:
    """Return the parameters and buffers of the checkpoint ``start``.

    A name is absent there when the first transition that mentions it adds it without removing it.
    """
    absent: set[str] = set()
    mentioned: set[str] = set()
    for stage in log.stages:
        appearing, vanishing = stage.transition.appearing, stage.transition.vanishing
        absent |= appearing - vanishing - mentioned
        mentioned |= vanishing | appearing
    return frozenset(log.parameters) - absent


def present_after(log: StageLog, index: int) -> frozenset[str]:
    """Return the parameters and buffers of the model during stage ``index``; -1: at the start."""
    present = present_at_start(log)
    for stage in log.stages[: index + 1]:
        present = (present - stage.transition.vanishing) | stage.transition.appearing
    return present


def check_parameters(log: StageLog) -> None:
    """Refuse ties that lead nowhere, and frozen batch norms that are none.

    Raises:
        StageLogError: If a tie names no entry, another tie, or one of another shape; or a graph
            names a running mean that is no buffer.
    """
    buffers = {name for name, info in log.parameters.items() if info.kind == "buffer"}
    for graph_name, graph in log.graphs.items():
        unknown = sorted(set(graph.running_norms or ()) - buffers)
        if unknown or (graph.running_norms and graph.batch_norm != "batch"):
            raise StageLogError(
                f"graphs[{graph_name}].running_norms",
                expected="buffers of the log, in a graph whose batch norm is `batch`",
                found=unknown[0] if unknown else graph.batch_norm,
                remedy="Name the running mean of every batch norm that was frozen beside others.",
            )
    for name, info in log.parameters.items():
        if info.tied_to is None:
            continue
        where = f'parameters["{name}"].tied_to'
        owner = log.parameters.get(info.tied_to)
        if owner is None or owner.tied_to is not None:
            raise StageLogError(
                where,
                expected="the name of an entry that is not itself tied",
                found=info.tied_to,
                remedy="Tie every alias to one and the same owner.",
            )
        if (owner.shape, owner.dtype, owner.kind) != (info.shape, info.dtype, info.kind):
            raise StageLogError(
                where,
                expected=f"an owner of shape {list(info.shape)}, {info.dtype}, {info.kind}",
                found=f"{list(owner.shape)}, {owner.dtype}, {owner.kind}",
                remedy="Tied names share one tensor.",
            )


def check_transitions(log: StageLog) -> None:
    """Refuse transitions and groups that do not agree with one another.

    Raises:
        StageLogError: If a group names what cannot be trained, a parameter is in two groups, or a
            transition's lists differ from what the stages train and hold.
    """
    present = present_at_start(log)
    before: Stage | None = None
    for index, stage in enumerate(log.stages):
        where = f"stages[{index}]"
        present = _check_presence(log, stage, present=present, where=f"{where}.transition")
        _check_groups(log, stage, present=present, where=f"{where}.groups")
        _check_frozen(stage, before=before, present=present, where=f"{where}.transition")
        if before is not None and stage.transition.optimizer == "keep":
            _check_kept(stage, before=before, where=f"{where}.transition.optimizer")
        before = stage


def _check_presence(
    log: StageLog, stage: Stage, *, present: frozenset[str], where: str
) -> frozenset[str]:
    """Return what the model holds after the transition."""
    transition = stage.transition
    for field in ("added", "removed", "frozen", "unfrozen"):
        names: tuple[str, ...] = getattr(transition, field)
        unknown = [name for name in names if name not in log.parameters]
        if unknown or len(set(names)) != len(names):
            raise StageLogError(
                f"{where}.{field}",
                expected="names from `parameters`, each once",
                found=unknown or names,
                remedy="Correct the list.",
            )
    gone = [name for name in transition.removed if name not in present]
    if gone:
        raise StageLogError(
            f"{where}.removed",
            expected="parameters that the model has before the stage",
            found=gone,
            remedy="Remove only what is there.",
        )
    if bool(transition.added) != (transition.added_values is not None):
        raise StageLogError(
            f"{where}.added_values",
            expected="the initial values of `added`" if transition.added else "nothing",
            found=transition.added_values,
            remedy="Record the values of every parameter that a transition adds.",
        )
    _check_renamed(log, transition, present=present, where=f"{where}.renamed")
    after = (present - transition.vanishing) | transition.appearing
    for name in sorted(after):
        owner = log.parameters[name].tied_to
        if owner is not None and owner not in after:
            raise StageLogError(
                where,
                expected=f"the owner {owner} of the tied name {name} to stay",
                found="it is gone",
                remedy="Remove or add tied names together.",
            )
    return frozenset(after)


def _check_renamed(
    log: StageLog, transition: Transition, *, present: frozenset[str], where: str
) -> None:
    """A name that moves is there before, free after, and of the same tensor."""
    renamed = transition.renamed or {}
    listed = {*transition.added, *transition.removed}
    kept = present - transition.vanishing
    for new, old in renamed.items():
        mine, theirs = log.parameters.get(new), log.parameters.get(old)
        same = (
            mine is not None
            and theirs is not None
            and (mine.shape, mine.dtype, mine.kind) == (theirs.shape, theirs.dtype, theirs.kind)
            and mine.tied_to is None is theirs.tied_to
        )
        free = new not in kept and listed.isdisjoint((new, old)) and old in present
        if not same or not free or len(set(renamed.values())) != len(renamed):
            raise StageLogError(
                where,
                expected="for a new name, an old one of the same shape, dtype and kind that no "
                "other takes; neither added nor removed",
                found=f"{new}: {old}",
                remedy="List what moved to another name in `renamed` only.",
            )


def _check_groups(log: StageLog, stage: Stage, *, present: frozenset[str], where: str) -> None:
    if not stage.groups:
        raise StageLogError(
            where, expected="at least one group", found="none", remedy="Record what was trained."
        )
    owner_of: dict[str, int] = {}
    for position, group in enumerate(stage.groups):
        at = f"{where}[{position}].parameters"
        if not group.parameters:
            raise StageLogError(
                at, expected="at least one parameter", found="none", remedy="Drop the empty group."
            )
        for name in group.parameters:
            info = log.parameters.get(name)
            if info is None or name not in present:
                raise StageLogError(
                    at,
                    expected="parameters of the model during this stage",
                    found=name,
                    remedy="Correct the name, or add the parameter in the transition.",
                )
            if info.kind != "parameter" or info.tied_to is not None:
                raise StageLogError(
                    at,
                    expected="parameters, by the name of their owner when they are tied",
                    found=f"{name}, {info.kind} tied to {info.tied_to}",
                    remedy="List the owner; buffers are never in a group.",
                )
            if name in owner_of:
                raise StageLogError(
                    at,
                    expected="each parameter in one group",
                    found=f"{name}, also in groups[{owner_of[name]}]",
                    remedy="Remove it from one of the two.",
                )
            owner_of[name] = position


def _check_frozen(
    stage: Stage, *, before: Stage | None, present: frozenset[str], where: str
) -> None:
    """The lists must say exactly what changed, so that no reader has to guess."""
    transition = stage.transition
    fresh = set(transition.added)
    trained_before = stage.trainable if before is None else before.trainable
    trained_before = _after(trained_before, transition)
    expected = {
        "frozen": ((trained_before & present) - fresh) - stage.trainable,
        "unfrozen": (stage.trainable - trained_before) - fresh,
    }
    for field, names in expected.items():
        listed: tuple[str, ...] = getattr(transition, field)
        if set(listed) != names:
            raise StageLogError(
                f"{where}.{field}",
                expected=f"what the groups of the two stages say: {sorted(names)}",
                found=sorted(listed),
                remedy="List parameters trained on one side of the transition only.",
            )


def _after(names: frozenset[str], transition: Transition) -> frozenset[str]:
    new_names = transition.new_names
    return frozenset(new_names.get(name, name) for name in names)


def _check_kept(stage: Stage, *, before: Stage, where: str) -> None:
    families = {"adam": "adam", "adamw": "adam"}
    mine = families.get(stage.optimizer.kind, stage.optimizer.kind)
    theirs = families.get(before.optimizer.kind, before.optimizer.kind)
    if mine != theirs:
        raise StageLogError(
            where,
            expected=f"reset, since the optimizer changes from {before.optimizer.kind}",
            found=f"keep with {stage.optimizer.kind}",
            remedy="Optimizer state carries over only between optimizers of one family.",
        )
