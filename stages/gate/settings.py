"""The config file of a gate, checked as a whole before anything starts."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from pipeline.briefing import EngineConfig
from pipeline.config import Config
from pipeline.errors import Usage
from pipeline.home import home
from pipeline.registry import resolve, sha256_of
from stages.act.act import ActConfig
from stages.act.osdp import OsdpConfig
from stages.act.simulated import FileConfig, SimulatedConfig
from stages.capture import CaptureConfig
from stages.clips.clips import ClipsConfig
from stages.detect import DetectConfig
from stages.gate import calibration
from stages.gate.config import ACTIVE, PASSIVE, GateConfig
from stages.liveness import LivenessConfig
from stages.match import MatchConfig
from stages.nms import NmsConfig
from stages.pick import PickConfig
from stages.show.web.show import ShowConfig
from stages.track import TrackConfig


class GateSettings(Config, frozen=True):
    """What the config file may set: the sources, a table for the engine, and one for each stage."""

    source: tuple[str, ...] = ()  # as --source
    engine: EngineConfig = EngineConfig()
    capture: CaptureConfig = CaptureConfig(realtime=True)
    detect: DetectConfig = DetectConfig()
    nms: NmsConfig = NmsConfig()
    track: TrackConfig = TrackConfig()
    pick: PickConfig = PickConfig()
    liveness: LivenessConfig = LivenessConfig()
    match: MatchConfig = MatchConfig()
    gate: GateConfig = GateConfig()
    act: ActConfig = ActConfig()
    clips: ClipsConfig = ClipsConfig()
    show: ShowConfig = ShowConfig()

    def by_stage(self) -> dict[str, Config]:
        """The config of each stage under its class's name, as the supervisor wants it."""
        tables = set(self.__struct_fields__) - {"source", "engine"}
        return {name.capitalize(): getattr(self, name) for name in tables}


def completed(given: GateSettings, cameras: Sequence[str]) -> GateSettings:
    """`given` with what follows from it, for these cameras. Raises Usage for what does not go together."""
    gate = given.gate
    simulated = tuple(one.name for one in given.act.outputs if isinstance(one, SimulatedConfig))
    gate.zone()
    gate.windows()
    if given.match.gallery:
        raise Usage("a gate keeps people and events in one place: set $FRAMEWIRE_HOME in place of match.gallery")
    _check(gate, given.act, given.liveness, cameras, simulated)
    found = calibration.load(home())
    threshold = given.match.threshold
    if threshold is None and found is not None and found.mode == gate.mode:
        threshold = found.threshold
    given.show.check()
    changed = replace(
        given,
        capture=replace(given.capture, realtime=True, prompt=True),
        pick=replace(given.pick, turns=gate.liveness in ACTIVE),
        match=replace(given.match, threshold=threshold),
        gate=replace(
            gate, models=_hashes(given), detector=given.detect.identity, simulated=simulated, most=given.pick.most
        ),
        act=replace(
            given.act,
            doors={door.name: door.output for door in gate.doors},
            notify=gate.notify,
            badge_seconds=gate.badge_seconds,
        ),
    )
    clips = replace(given.clips, decided_within=gate.settle_seconds + gate.patience_seconds)
    show = replace(
        given.show,
        warnings=tuple(warnings(changed)),
        doors=tuple(door.name for door in gate.doors),
        cameras={door.name: door.cameras for door in gate.doors},
        groups=tuple(gate.groups),
        badge_seconds=gate.badge_seconds,
        detect=changed.detect,
        nms=changed.nms,
        match=changed.match,
    )
    return replace(changed, clips=clips, show=show)


def _check(
    gate: GateConfig, act: ActConfig, liveness: LivenessConfig, cameras: Sequence[str], simulated: Sequence[str]
) -> None:
    names = [door.name for door in gate.doors]
    if len(set(names)) != len(names):
        raise Usage("two doors have the same name: give each of gate.doors another")
    for camera in cameras:
        watched = [door.name for door in gate.doors if door.has(camera)]
        if not watched:
            raise Usage(f"no door has the camera {camera!r}: put it into cameras of one of gate.doors")
        if len(watched) > 1:
            raise Usage(
                f"the camera {camera!r} is that of two doors, {watched[0]!r} and {watched[1]!r}: "
                "give each of gate.doors cameras of its own"
            )
    if gate.liveness in PASSIVE and not liveness.models:
        raise Usage(
            f"gate.liveness is {gate.liveness!r} and no network tells live faces: set liveness.models, "
            'or gate.liveness to "active" or "none"'
        )
    if gate.mode == "1:1" and gate.badge_seconds <= gate.patience_seconds:
        raise Usage("a badge would be forgotten before it is refused: set gate.badge_seconds above patience_seconds")
    outputs = [one.name for one in act.outputs]
    mute = [one.name for one in act.outputs if isinstance(one, FileConfig)]
    for door in gate.doors:
        if door.output in mute:
            raise Usage(f"the output {door.output!r} is a file and opens no door: give {door.name!r} another")
    for one in act.outputs:
        if isinstance(one, OsdpConfig) and one.door not in names:
            raise Usage(f"the reader of {one.name!r} is at the door {one.door!r}, which is none of gate.doors")
    for name in (*(door.output for door in gate.doors), *gate.notify):
        if name not in outputs:
            raise Usage(f"there is no output {name!r}: act.outputs has {', '.join(outputs)}")
    if len(set(gate.notify)) != len(gate.notify):  # two threads would tell it each notice, in any order
        raise Usage("gate.notify names an output twice: name each of them once")
    real = [door.name for door in gate.doors if door.output not in simulated]
    if gate.liveness == "none" and real and not gate.accept_photos:
        raise Usage(
            f"without liveness a photo opens the door {real[0]!r}: set gate.liveness, simulate that door, "
            "or set gate.accept_photos = true"
        )


def warnings(settings: GateSettings) -> list[str]:
    """What a person should know before relying on this gate."""
    said = []
    if settings.gate.liveness == "none":
        said.append("no liveness: a photo of somebody who is enrolled is taken for them")
    if settings.gate.liveness in ACTIVE:
        said.append("a film of somebody turning their head passes an active challenge one time in two")
    if calibration.load(home()) is None:
        said.append("not calibrated: only simulated doors open; run gate calibrate")
    return said


def _hashes(given: GateSettings) -> dict[str, str]:
    """The sha256 of each model by what it does."""
    models = {"detector": given.detect.name, "embedder": given.match.model}
    models |= {f"liveness-{place}": name for place, name in enumerate(given.liveness.models, 1)}
    return {what: sha256_of(resolve(name)) for what, name in models.items()}
