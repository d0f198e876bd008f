"""One member's permissions, told step by step; see test_handover_machine for all orders."""

from __future__ import annotations

from collections import Counter

from activator.handover import (
    Changed,
    Claim,
    Drained,
    Effect,
    Greeting,
    Handover,
    Line,
    Lost,
    Send,
)

EXPIRY, GRACE, NOW = 30.0, 3.0, 1000.0


class Desk:
    """A member ``a`` with replica ``r`` that was there before it, and what it sends."""

    def __init__(self, *members: str, fresh: bool = False, starting: bool = False) -> None:
        self.in_flight: Counter[str] = Counter()
        self.handover = Handover(
            "a", 7, EXPIRY, GRACE, self.in_flight.__getitem__, NOW, fresh=fresh
        )
        self.handover.set_members(["a", *members], NOW)
        self.handover.learn("r", NOW + 0.001 if starting else NOW, starting=starting)
        self.now = NOW

    def up(self, member: str, epoch: int = 1, **greeting: object) -> list[Line]:
        told = Greeting(**{"blind": 1e9, **greeting})  # type: ignore[arg-type]
        return self.sent(self.handover.up(member, epoch, told, self.now))

    def claim(self, claim: Claim) -> list[Line]:
        return self.sent(self.handover.claim("r", claim, self.now))

    def hear(self, member: str, *line: object) -> list[Effect]:
        return self.handover.receive(member, line, self.now)  # type: ignore[arg-type]

    def allowed(self) -> int:
        return self.handover.allowance("r", 10, self.now)

    @staticmethod
    def sent(effects: list[Effect]) -> list[Line]:
        return [effect.line for effect in effects if isinstance(effect, Send)]


def test_alone() -> None:
    """Without peers everything may be used; only what was before this start has to be over."""
    fresh = Desk(fresh=True)
    assert fresh.claim(Claim.OWNED) == []
    assert fresh.allowed() == 10
    desk = Desk()
    desk.claim(Claim.OWNED)
    assert desk.allowed() == 0
    assert desk.handover.waits("r", NOW) == ("a", NOW + EXPIRY)
    desk.now += EXPIRY
    assert desk.handover.tick(desk.now) == [Changed("r")]
    assert desk.allowed() == 10
    assert desk.handover.tick(desk.now) == []
    assert desk.handover.allowance("unknown", 10, desk.now) == 0
    started = Desk(starting=True)
    started.claim(Claim.OWNED)
    assert started.allowed() == 10


def test_asks_and_counts_what_others_have() -> None:
    """All slots count as taken until each has answered, then what it still has in there."""
    desk = Desk("b", "c", fresh=True)
    desk.up("b")
    desk.up("c")
    assert desk.claim(Claim.OWNED) == [("ask", "r", 1, 0)] * 2
    assert desk.claim(Claim.OWNED) == []
    assert desk.hear("b", "free", "r", 1, 4) == [Changed("r")]
    assert desk.allowed() == 0
    assert desk.handover.waits("r", NOW) == ("c", float("inf"))
    desk.hear("c", "free", "r", 1, 0)
    assert (desk.allowed(), desk.handover.elsewhere("r", NOW)) == (6, 4)
    desk.hear("b", "left", "r", 0, 1)
    assert desk.allowed() == 9
    assert desk.handover.wants("r")
    assert not desk.handover.wants("s")
    assert desk.handover.elsewhere("s", NOW) == 0
    # More than the limit, which was lowered: nothing is left, not less than nothing.
    assert desk.handover.allowance("r", 0, NOW) == 0


def test_gives_way() -> None:
    """Who does not want the replica gives it at once, and tells of each request that ends."""
    desk = Desk("b", fresh=True)
    desk.up("b")
    desk.in_flight["r"] = 2
    assert desk.sent(desk.hear("b", "ask", "r", 5, 0)) == [("free", "r", 5, 2)]
    assert desk.handover.watched("r")
    desk.in_flight["r"] = 1
    assert desk.sent(desk.handover.released("r", NOW)) == [("left", "r", 0, 1)]
    desk.in_flight["r"] = 0
    assert desk.sent(desk.handover.released("r", NOW)) == [("left", "r", 0, 0)]
    assert not desk.handover.watched("r")
    assert desk.sent(desk.handover.released("r", NOW)) == []
    assert desk.handover.released("s", NOW) == []
    assert not desk.handover.watched("s")


def test_who_wants_it_keeps_the_question() -> None:
    """The answer comes when it is not wanted any more, be it owned or used by all."""
    for claim in (Claim.OWNED, Claim.OPEN):
        desk = Desk("b", fresh=True)
        desk.up("b")
        desk.claim(claim)
        assert desk.hear("b", "ask", "r", 9, 0) == []
        assert desk.claim(Claim.NONE) == [("free", "r", 9, 0)]
        assert desk.allowed() == 0


def test_who_had_no_limit_asks_anew() -> None:
    """While all used the replica unasked, what they had permitted and reported became void."""
    for wanted in (Claim.OWNED, Claim.CLOSING):
        desk = Desk("b", "c", fresh=True)
        desk.up("b")
        desk.up("c")
        desk.claim(Claim.OWNED)
        desk.hear("b", "free", "r", 1, 0)
        desk.hear("c", "free", "r", 1, 0)
        desk.handover.lost("c", NOW)
        assert desk.allowed() == 10
        desk.claim(Claim.OPEN)
        # b sends two requests; so may c, which is out of sight.
        assert desk.claim(wanted) == [("ask", "r", 2, 0)]
        assert desk.allowed() == 0
        assert desk.hear("b", "left", "r", 0, 0) == []
        desk.hear("b", "free", "r", 2, 2)
        assert desk.handover.waits("r", NOW) == ("c", NOW + EXPIRY)
        assert desk.handover.elsewhere("r", NOW) == 2


def test_what_answers_an_older_question_is_not_used() -> None:
    """Both asked, both gave up and gave way, both want it again: neither has it unasked."""
    desk = Desk("b", fresh=True)
    desk.up("b")
    desk.claim(Claim.OWNED)
    desk.hear("b", "ask", "r", 1, 0)
    assert desk.claim(Claim.NONE) == [("free", "r", 1, 0)]
    assert desk.claim(Claim.OWNED) == [("ask", "r", 2, 0)]
    # b gave way to the first question before it had our permission; it has it now.
    assert desk.hear("b", "free", "r", 1, 0) == []
    assert desk.allowed() == 0
    desk.hear("b", "free", "r", 2, 0)
    assert desk.allowed() == 10
    # ... and what nobody asked for is nothing, nor is news of one who has it back.
    desk.claim(Claim.NONE)
    assert desk.hear("b", "free", "r", 2, 0) == []
    desk.hear("b", "ask", "r", 2, 0)
    assert desk.hear("b", "left", "r", 0, 3) == []
    assert desk.hear("b", "nonsense", "r", 0, 3) == []


def test_what_is_kept_need_not_be_asked_for() -> None:
    """A permission stays good until its giver asks for ours."""
    desk = Desk("b", fresh=True)
    desk.up("b")
    desk.claim(Claim.OWNED)
    desk.hear("b", "free", "r", 1, 0)
    desk.claim(Claim.NONE)
    assert desk.claim(Claim.OWNED) == []
    assert desk.allowed() == 10


def test_replicas_that_are_not_known() -> None:
    """Of a replica that we have not heard of, or hear of no more, others may have all."""
    desk = Desk("b", fresh=True)
    desk.up("b")
    assert desk.sent(desk.hear("b", "ask", "s", 3, 0)) == [("free", "s", 3, 0)]
    assert desk.hear("b", "free", "s", 3, 0) == []
    desk.claim(Claim.OWNED)
    desk.hear("b", "ask", "r", 4, 0)
    assert desk.handover.forget("r") == [Send("b", ("free", "r", 4, 0))]
    assert desk.handover.forget("r") == []
    assert not desk.handover.knows("r")
    desk.handover.learn("r", NOW, starting=True)
    desk.handover.learn("r", NOW, starting=False)
    assert desk.handover.knows("r")


def test_a_lost_member_that_had_given_way() -> None:
    """What it last told counts until it has expired; the rest may be used on."""
    desk = Desk("b", fresh=True)
    desk.up("b")
    desk.claim(Claim.OWNED)
    desk.hear("b", "free", "r", 1, 3)
    assert desk.handover.lost("b", NOW) == [Changed("r")]
    assert desk.handover.lost("b", NOW) == []
    assert desk.allowed() == 7
    desk.now += EXPIRY
    assert Changed("r") in desk.handover.tick(desk.now)
    assert desk.allowed() == 10


def test_a_lost_member_that_had_not() -> None:
    """It may have used all slots: none is free before it has expired."""
    desk = Desk("b", fresh=True)
    desk.up("b")
    desk.claim(Claim.OWNED)
    desk.hear("b", "ask", "r", 1, 0)
    desk.handover.lost("b", NOW + 1)
    desk.now += EXPIRY
    assert desk.allowed() == 0
    # The question of the lost life is not answered to the next.
    assert desk.up("b", 2) == [("ask", "r", 1, 0)]
    assert desk.claim(Claim.NONE) == []
    desk.claim(Claim.OWNED)
    desk.now += 1
    desk.hear("b", "free", "r", 2, 0)
    assert desk.allowed() == 10
    desk.handover.tick(desk.now)
    assert desk.handover.losses == {}


def test_a_member_that_left() -> None:
    """Who said goodbye had nothing left: nobody waits for it."""
    desk = Desk("b", fresh=True)
    desk.up("b")
    desk.claim(Claim.OWNED)
    desk.hear("b", "free", "r", 1, 0)
    desk.handover.lost("b", NOW, goodbye=True)
    assert desk.allowed() == 10
    desk.handover.tick(NOW)
    # How it was last seen is told to others who look for it, and forgotten with its name.
    (loss,) = desk.handover.greeting(NOW).losses
    assert loss == ("b", 1, 1e9)
    desk.handover.set_members(["a"], NOW)
    desk.handover.tick(NOW)
    assert desk.handover.losses == {}


def test_a_link_that_comes_back() -> None:
    """The same life again: it is asked anew, and counts as lost no longer."""
    desk = Desk("b", fresh=True)
    desk.up("b")
    desk.claim(Claim.OWNED)
    desk.hear("b", "free", "r", 1, 3)
    desk.handover.lost("b", NOW)
    assert desk.up("b") == [("ask", "r", 1, 0)]
    assert desk.allowed() == 0
    desk.hear("b", "free", "r", 1, 1)
    assert desk.allowed() == 9
    assert desk.handover.losses == {}


def test_members_that_were_not_seen_yet() -> None:
    """Who is said to be there, but is not linked, may be at work: for as long as a lost one."""
    desk = Desk("b", fresh=True, starting=True)
    desk.claim(Claim.OWNED)
    assert desk.handover.waits("r", NOW) == ("b", NOW + EXPIRY)
    desk.now += EXPIRY
    assert desk.allowed() == 10
    # It is in use when the next one is named: that one would have had to ask.
    desk.handover.set_members(["a", "b", "c"], desk.now)
    assert desk.allowed() == 10
    # Given away and wanted again it may be the new one's.
    desk.claim(Claim.NONE)
    desk.claim(Claim.OWNED)
    assert desk.handover.waits("r", desk.now) == ("c", desk.now + EXPIRY)
    desk.handover.set_members(["a", "b"], desk.now)
    assert desk.allowed() == 10


def test_what_others_tell_of_the_past() -> None:
    """Who was there longer vouches for what was, and tells whom it lost, and when."""
    desk = Desk("b", "c", "d")
    desk.claim(Claim.OWNED)
    losses = (("a", 6, 5.0), ("a", 7, 0.5), ("c", 3, 20.0), ("d", 0, 40.0), ("e", 9, 1.0))
    desk.up("b", blind=1e6, up=("e",), losses=losses)
    desk.hear("b", "free", "r", 1, 0)
    # Our own life before this one, and e's; c and d are away for longer than since we came.
    assert desk.handover.waits("r", NOW) == ("e", NOW - 1 + EXPIRY)
    desk.now = NOW - 1 + EXPIRY
    assert desk.allowed() == 10
    # The second time it is no news.
    desk.up("e", 10, blind=0.0, losses=losses)
    desk.hear("e", "free", "r", 1, 0)
    assert desk.allowed() == 10
    told = desk.handover.greeting(desk.now)
    assert (told.blind, told.up) == (1e6 + 29.0, ("b", "e"))


def test_one_that_another_sees_is_waited_for() -> None:
    """Somebody whom another has a link to is there: until it is linked here too, or expired."""
    desk = Desk("b", "c")
    desk.claim(Claim.OWNED)
    desk.up("b", blind=1e6, up=("c",), losses=(("c", 3, 20.0),))
    desk.hear("b", "free", "r", 1, 0)
    assert desk.handover.waits("r", NOW) == ("c", NOW + EXPIRY)
    desk.up("c", 4, losses=(("b", 0, 5.0), ("b", 1, 5.0)))
    desk.hear("c", "free", "r", 1, 0)
    assert desk.handover.waits("r", NOW) == ("c", NOW - 20 + EXPIRY)


def test_a_short_grace_for_replicas_that_started_since() -> None:
    """Of a replica that started after a loss the lost one has nothing, if it is lost indeed."""
    desk = Desk("b", fresh=True)
    desk.up("b")
    desk.handover.lost("b", NOW)
    desk.handover.learn("s", NOW + 1, starting=True)
    desk.handover.claim("s", Claim.OWNED, NOW + 1)
    assert desk.handover.waits("s", NOW + 1) == ("b", NOW + GRACE)
    assert desk.handover.allowance("s", 5, NOW + GRACE) == 5


def test_drained() -> None:
    """Said once, when neither others nor we have anything left in a closing replica."""
    desk = Desk("b", fresh=True)
    desk.up("b")
    desk.in_flight["r"] = 1
    assert desk.claim(Claim.CLOSING) == [("ask", "r", 1, 0)]
    assert desk.allowed() == 0
    assert desk.handover.watched("r")
    assert desk.hear("b", "free", "r", 1, 1) == [Changed("r")]
    desk.in_flight["r"] = 0
    assert desk.handover.released("r", NOW) == []
    assert desk.hear("b", "left", "r", 0, 0) == [Changed("r"), Drained("r")]
    assert desk.handover.tick(NOW) == []
    assert desk.handover.released("r", NOW) == []


def test_a_loss_is_remembered_until_the_last() -> None:
    """Of one that is away the last life is kept, to be told; earlier ones are forgotten."""
    desk = Desk("b", fresh=True)
    desk.up("b", 1)
    desk.handover.lost("b", NOW)
    desk.up("b", 2)
    desk.handover.lost("b", NOW + 1)
    desk.handover.tick(NOW + EXPIRY + 1)
    assert set(desk.handover.losses) == {Lost("b", 2)}
