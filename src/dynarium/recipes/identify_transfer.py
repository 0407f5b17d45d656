"""Transfer of models that identify systems: other poles, longer contexts, one system (Piga, Pura & Forgione 2023).

"On the adaptation of in-context learners for system identification" (arXiv:2312.04083). A model trained over a class of
systems is trained on: over longer sequences, or on sequences of a single system. The experiment that comes first stands in
``before``: its run is looked for among the runs, and made where it is missing. Tiers as in ``recipes.identify``.

    dynarium train identify-wh-long --then evaluate report
    dynarium train identify-wh-to-system --world.system-seed 7 --then evaluate
"""

import math
from dataclasses import replace

from dynarium.objectives.schedules import Constant
from dynarium.recipes.identify import (
    Identification,
    Tier,
    data,
    identify_lti_simulation,
    identify_wh_simulation,
    named,
    published,
    shorter,
    simulator,
    training,
)
from dynarium.systems.identification import RandomLti, parallel_wiener_hammerstein, wiener_hammerstein
from dynarium.systems.lti import LinearLaw
from dynarium.systems.multitask import MultiTask
from dynarium.tasks.identify import Identify

SLOW = RandomLti(law=LinearLaw(magnitude=(0.8, 0.97), phase=(0.0, math.pi / 2)))
FAST = RandomLti(law=LinearLaw(magnitude=(0.5, 0.75), phase=(math.pi / 2, 0.75 * math.pi)))
BOTH = RandomLti(law=LinearLaw(magnitude=(0.5, 0.97), phase=(0.0, math.pi)))
"""The classes of linear systems of section III: two that a model is trained on, and one around them that it is asked about."""


def identify_lti_slow(tier: Tier = "cpu") -> Identification:
    """Trained on slow poles (magnitude .8 to .97), asked about a wider class. The paper shows curves and no numbers.

    Command: ``dynarium reproduce identify-lti-slow``.
    """
    return _class("identify-lti-slow", tier, SLOW)


def identify_lti_fast(tier: Tier = "cpu") -> Identification:
    """Trained on fast, oscillating poles (magnitude .5 to .75, phase above pi/2), asked about a wider class.

    Command: ``dynarium reproduce identify-lti-fast``.
    """
    return _class("identify-lti-fast", tier, FAST)


def identify_lti_slow_and_fast(tier: Tier = "cpu") -> Identification:
    """Trained on both classes in equal parts, which nearly closes the gap in the paper; asked about a wider class.

    Command: ``dynarium reproduce identify-lti-slow-and-fast``.
    """
    return _class("identify-lti-slow-and-fast", tier, SLOW, FAST)


def identify_wh_short(tier: Tier = "cpu") -> Identification:
    """Wiener-Hammerstein systems from short contexts of 100 steps, which longer ones start from: RMSE .103.

    Paper: a million steps. Command: ``dynarium reproduce identify-wh-short``.
    """
    base = identify_wh_simulation(tier)
    return replace(
        base,
        name="identify-wh-short",
        world=replace(wiener_hammerstein(), steps=200),
        model=replace(simulator(tier, context=100), positions="rotary"),
        training=training(tier, 1_000_000),
        tasks=(Identify(), shorter(25, 50)),
        before=None,
    )


def identify_wh_long(tier: Tier = "cpu") -> Identification:
    """Contexts of 1000 steps, from the model of short ones: RMSE .113 after 80,000 more steps.

    From nothing, the paper says, it learns nothing; at tier ``cpu``, which reads lags, it does (``before: null`` in a file
    given by ``--config``). Positions are rotary at every tier, so that the short model's weights fit as they are. ``cpu``
    takes a fifth of the short model's steps. Command: ``dynarium reproduce identify-wh-long``.
    """
    schedule = training(tier, 80_000)
    if tier == "cpu":
        schedule = replace(schedule, steps=2000, learning_rate=replace(schedule.learning_rate, warmup=100, until=2000))
    return replace(
        identify_wh_short(tier),
        name="identify-wh-long",
        world=replace(wiener_hammerstein(), steps=1100),
        model=replace(simulator(tier, context=1000), positions="rotary"),
        training=schedule,
        tasks=(Identify(), shorter(100, 200, 400)),
        before=None if tier == "smoke" else named(identify_wh_short(tier), tier),
    )


def identify_wh_to_system(tier: Tier = "cpu") -> Identification:
    """From the class of Wiener-Hammerstein systems to one of them (section IV): fine-tuned on 100 of its sequences.

    Paper: 50 systems, 100 sequences for training, 20 for validation and 20 for the test, 10,000 steps, the best validation
    after about 4,000. Here the system is ``world.system_seed``; the weights kept are the best on its validation sequences.
    Command: ``dynarium train identify-wh-to-system --world.system-seed 3 --then evaluate``.
    """
    base = identify_wh_simulation(tier)
    pace = {"smoke": 20, "cpu": 200, "paper": 200}[tier]
    steps = {"smoke": 40, "cpu": 2000, "paper": 10_000}[tier]
    return replace(
        base,
        name="identify-wh-to-system",
        world=replace(wiener_hammerstein(), system_seed=0),
        data=replace(data(tier), online=False, train=100, val=20, test=20),
        training=replace(
            base.training,
            steps=steps,
            batch_size=8 if tier == "smoke" else 20,
            learning_rate=Constant(value=1e-4),
            validate_every=pace,
            checkpoint_every=pace,
            early_stopping=10,
            media_every=steps,
        ),
        tasks=(Identify(),),
        before=None if tier == "smoke" else named(base, tier),
    )


def identify_wh_to_parallel(tier: Tier = "cpu") -> Identification:
    """From Wiener-Hammerstein systems to one that is none: three branches in parallel (section IV).

    Paper: the best validation after about 6,000 steps. Command: ``dynarium train identify-wh-to-parallel --then evaluate``.
    """
    base = identify_wh_to_system(tier)
    return replace(base, name="identify-wh-to-parallel", world=replace(parallel_wiener_hammerstein(), system_seed=0))


def _class(name: str, tier: Tier, *worlds: RandomLti) -> Identification:
    """Return the experiment of a model trained on these classes and asked about the wider one."""
    base = identify_lti_simulation(tier)
    world = worlds[0] if len(worlds) == 1 else MultiTask(worlds=worlds)
    return replace(base, name=name, world=world, tasks=(Identify(), Identify(label="wider", world=BOTH)))


WH_SHORT = (*published(".103", context=100),)
WH_LONG = (*published(".113", context=1000),)
