"""Rules learned for single sources: proposed, proven by replay, applied as a config version, judged again, taken back.

What a source's values are like (between which numbers, of which form) is learned from its listings, how well its
readings must be vouched for from those of its archived pages that turned out wrong. Every proposal is a row of
``learned_rules`` with what it is expected to refuse; what it did refuse is read off the archive again once it refuses
more than that, or has nothing left to refuse.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from fill_pipeline.crawl.urls import url_hash
from fill_pipeline.db import registry, rules
from fill_pipeline.db.connect import Connection
from fill_pipeline.db.rules import RecentValues, RuleAtWork, RuleStatus
from fill_pipeline.drain.work import Source, Work, load_sources
from fill_pipeline.repair.judged import JUDGED, JudgedValue, Judgement, judged_values, settled
from fill_pipeline.vehicles.source_rules import FORMATTED, RANGED, RuleKind, SourceRule, learn_format, learn_range

HISTORY = 2000  # listings that ranges and formats are learned from
LEAST_VALUES = 30  # fewer prove nothing
LEAST_WRONG = 3  # values read with little confidence that turned out wrong, on either half of the pages
MOST_LOST = 0.05  # of the right values, for a confidence
MOST_SETTLED = 60  # refused values that other sources are asked about
ALLOWED = 0.02  # of a source's listings, beyond what was expected
LEAST_JUDGED = 20  # listings in a cycle that say something about a rule
MOST_DOUBTFUL = 5  # sources in a cycle that rules are looked for while quality is good
MOST_REVIEWED = 5  # sources in a cycle
LEARN_AGAIN = timedelta(days=1)
TRUST_AGAIN = timedelta(days=7)
MADE_BY = "learning"


@dataclass(frozen=True, slots=True)
class Proof:
    """What a rule does to values as archived pages give them: how many there are, and how those it refuses and those
    it keeps turned out."""

    values: int
    refused: tuple[JudgedValue, ...]
    kept_right: int
    kept_wrong: int

    def count(self, judgement: Judgement) -> int:
        """How many of the refused turned out so."""
        return sum(one.judgement is judgement for one in self.refused)

    @property
    def lost(self) -> float:
        """The share of the right values that is refused; what nobody judges is taken to be like what somebody did."""
        right, wrong = self.count(Judgement.RIGHT), self.count(Judgement.WRONG)
        estimated = len(self.refused) * right / (right + wrong) if right + wrong else float(len(self.refused))
        return estimated / max(1.0, estimated + self.values - len(self.refused) - self.kept_wrong)

    @property
    def precision(self) -> tuple[float, float]:
        """Right among those judged, without the rule and with it."""
        right, wrong = self.count(Judgement.RIGHT), self.count(Judgement.WRONG)
        before = _share(self.kept_right + right, self.kept_wrong + wrong)
        return before, _share(self.kept_right, self.kept_wrong)

    @property
    def gain(self) -> int:
        """What refusing brings: wrong values kept out, each right one lost counting twice."""
        return self.count(Judgement.WRONG) - 2 * self.count(Judgement.RIGHT)

    def as_json(self) -> dict[str, Any]:
        """The figures, as they are kept with the rule."""
        before, after = self.precision
        told = {str(one): self.count(one) for one in Judgement}
        return {
            "values": self.values,
            "refused": len(self.refused),
            **told,
            "precision": [round(before, 4), round(after, 4)],
            "lost": round(self.lost, 4),
        }

    def __str__(self) -> str:
        told = ", ".join(f"{n} {one}" for one in Judgement if (n := self.count(one)))
        return f"of {self.values} archived values it refuses {len(self.refused)}" + (f" ({told})" if told else "")


def learn_rules(conn: Connection, work: Work, most: int) -> dict[str, list[str]]:
    """Look for rules for at most so many sources of this cycle, each once a day; returns what became of each
    proposal in words, by source. Where ``most`` is 0, for some that give doubtful values."""
    known, before = load_sources(conn), work.now_fn() - LEARN_AGAIN
    told: dict[str, list[str]] = {}
    accuracy = None if most else work.settings.accuracy_target
    for source_id in rules.to_learn(conn, work.cycle_id, most or MOST_DOUBTFUL, before=before, accuracy=accuracy):
        if work.stopping():
            break
        if source_id in known and (words := learn_source(conn, work, known[source_id])):
            told[known[source_id].slug] = words
    return told


def learn_source(conn: Connection, work: Work, source: Source) -> list[str]:
    """Propose rules for one source, prove them, and apply those that are proven; what became of each, in words."""
    rules.note_learned(conn, source.id, now=work.now_fn())
    values = judged_values(conn, work, source)
    lately = rules.rules_lately(conn, source.id, work.now_fn() - TRUST_AGAIN)
    learned = []
    for rule in (*_usual(conn, source), *_doubtful(values)):
        if not _may_propose(source, rule, lately.get((rule.kind, rule.field))):
            continue
        unseen = _half(values, rule.field, 1) if rule.kind is RuleKind.CONFIDENCE else values
        learned.append((rule, prove(conn, source, rule, unseen)))
    proven = [rule for rule, proof in learned if holds(rule, proof)]
    with conn.transaction():
        if proven:
            reason = "; ".join(f"{rule}: {proof}" for rule, proof in learned if rule in proven)
            _change(conn, source, proven, reason=f"rules learned: {reason}")
        for rule, proof in learned:
            status = RuleStatus.APPLIED if rule in proven else RuleStatus.NOT_PROVEN
            rules.add_rule(
                conn,
                source.id,
                str(rule.kind),
                rule.field,
                rule.as_config(),
                status,
                str(proof),
                expectation=proof.as_json(),
                cycle_id=work.cycle_id,
                now=work.now_fn(),
            )
    return [f"{'applied' if rule in proven else 'not proven'}: {rule}; {proof}" for rule, proof in learned]


def _usual(conn: Connection, source: Source) -> list[SourceRule]:
    """The ranges and formats that a source's listings suggest; those for which it has too few are left out."""
    known = rules.recent_values(conn, source.id, HISTORY)
    ranges = [learn_range(name, (v for one in known if (v := getattr(one, name)) is not None)) for name in RANGED]
    formats = [learn_format(name, _words(known, name)) for name in FORMATTED]
    return [rule for rule in (*ranges, *formats) if rule is not None]


def _words(known: Iterable[RecentValues], name: str) -> list[str]:
    """A field's texts; a number that only stands for an address is none of the source's own."""
    texts = [(one, getattr(one, name)) for one in known]
    return [text for one, text in texts if text and not (name == "remote_id" and text == _hash(one.url))]


def _hash(url: str) -> str:
    try:
        return url_hash(url).hex
    except ValueError:
        return ""


def _doubtful(values: Sequence[JudgedValue]) -> list[SourceRule]:
    """The confidences below which a source's values are mostly wrong, by one half of the pages.

    Not of numbers: with another one each listing would be taken for a new one.
    """
    found = []
    for name in JUDGED:
        if name == "remote_id":
            continue
        half = _half(values, name, 0)
        levels = sorted({round(one.confidence, 2) for one in half})[1:]
        tried = [SourceRule(RuleKind.CONFIDENCE, name, level) for level in levels]
        good = {rule: proof for rule in tried if _is_worth_it(proof := _proof(rule, half))}
        if good:
            found.append(max(good, key=lambda rule: good[rule].gain))
    return found


def _half(values: Sequence[JudgedValue], name: str, which: int) -> list[JudgedValue]:
    """Every other value of a field: one half to learn from, one to prove on."""
    return [one for one in values if one.field == name][which::2]


def prove(conn: Connection, source: Source, rule: SourceRule, values: Sequence[JudgedValue]) -> Proof:
    """What the rule does to these values; other sources are asked about what it refuses."""
    proof = _proof(rule, [one for one in values if one.field == rule.field])
    asked = [settled(conn, source, one) for one in proof.refused[:MOST_SETTLED]]
    return replace(proof, refused=(*asked, *proof.refused[MOST_SETTLED:]))


def _proof(rule: SourceRule, values: Sequence[JudgedValue]) -> Proof:
    refused = tuple(one for one in values if rule.refuses(one.value, one.confidence))
    kept = [one for one in values if not rule.refuses(one.value, one.confidence)]
    return Proof(
        len(values),
        refused,
        sum(one.judgement is Judgement.RIGHT for one in kept),
        sum(one.judgement is Judgement.WRONG for one in kept),
    )


def holds(rule: SourceRule, proof: Proof) -> bool:
    """Whether a proposed rule may go live: a confidence must pay, any other refuse nothing that is not proven wrong."""
    if proof.values < LEAST_VALUES:
        return False
    if rule.kind is RuleKind.CONFIDENCE:
        return _is_worth_it(proof)
    return proof.count(Judgement.WRONG) == len(proof.refused)


def _is_worth_it(proof: Proof) -> bool:
    """Whether what is refused is mostly wrong, the rest is more often right, and hardly anything right is lost."""
    before, after = proof.precision
    wrong = proof.count(Judgement.WRONG)
    mostly = wrong >= LEAST_WRONG and wrong > proof.count(Judgement.RIGHT)
    return mostly and after > before and proof.lost <= MOST_LOST


# ── Rules at work ──


def review_rules(conn: Connection, work: Work) -> dict[str, list[str]]:
    """Look again at rules that refused more than was expected of them in this cycle; once a day at each that refused
    anything, and at each least confidence, which may have nothing left to refuse.

    Returns what was taken back or kept in words, by source.
    """
    known, now = load_sources(conn), work.now_fn()
    suspects: dict[UUID, list[RuleAtWork]] = {}
    for one in rules.rules_at_work(conn, work.cycle_id, least=LEAST_JUDGED):
        busy = one.refused > 0 or one.rule == RuleKind.CONFIDENCE
        due = busy and one.judged_at < now - LEARN_AGAIN
        if one.source_id in known and (due or one.refused > one.expected + ALLOWED):
            suspects.setdefault(one.source_id, []).append(one)
    told = {}
    for source_id, at_work in list(suspects.items())[:MOST_REVIEWED]:
        if work.stopping():
            break
        told[known[source_id].slug] = _review(conn, work, known[source_id], at_work)
    return told


def _review(conn: Connection, work: Work, source: Source, at_work: Sequence[RuleAtWork]) -> list[str]:
    values = judged_values(conn, work, source)
    in_force = source.config.source_rules()
    gone: list[tuple[SourceRule, str]] = []
    words = []
    with conn.transaction():
        for one in at_work:
            rule = SourceRule.of(one.rule, one.field, one.value)
            proof = prove(conn, source, rule, values)
            against = objection(rule, proof) if rule in in_force else "it is no longer part of the configuration"
            if against is not None and rule in in_force:
                gone.append((rule, f"{rule}: {against}"))
            rules.judge_rule(
                conn,
                one.id,
                RuleStatus.APPLIED if against is None else RuleStatus.TAKEN_BACK,
                f"{against}: {proof}",
                outcome=proof.as_json(),
                cycle_id=work.cycle_id,
                now=work.now_fn(),
            )
            words.append(f"{'kept' if against is None else f'taken back, {against}'}: {rule}; {proof}")
        if gone:
            reason = "; ".join(why for _, why in gone)
            _change(conn, source, [rule for rule, _ in gone], reason=f"learned rules taken back: {reason}", remove=True)
    return words


def objection(rule: SourceRule, proof: Proof) -> str | None:
    """Why a rule at work is taken back, by what it refuses now; None where it stays.

    Where it refuses most values and nobody knows better, the site is rather misread than changed: that is for the gate
    and for repair.
    """
    right, wrong = proof.count(Judgement.RIGHT), proof.count(Judgement.WRONG)
    refused = len(proof.refused)
    if right >= LEAST_WRONG and right > wrong:
        return "what it refuses turned out right"
    if rule.kind is RuleKind.CONFIDENCE:
        return None if refused or proof.values < LEAST_VALUES else "nothing is left that it would refuse"
    drifted = refused - wrong > max(wrong, LEAST_WRONG - 1) and ALLOWED * proof.values < refused <= proof.values / 2
    return "it refuses too much that nothing contradicts" if drifted else None


def _change(
    conn: Connection, source: Source, changed: Sequence[SourceRule], *, reason: str, remove: bool = False
) -> None:
    """Put rules into the source's configuration as it stands now, or take them out, as a new version."""
    standing = registry.find_source(conn, source.slug) or source.row
    config = dict(standing.config)
    for rule in changed:
        section = {name: value for name, value in config.get(rule.kind.section, {}).items() if name != rule.field}
        config[rule.kind.section] = section if remove else section | {rule.field: rule.as_config()}
        if not config[rule.kind.section]:
            del config[rule.kind.section]
    registry.change_config(conn, source.id, config, made_by=MADE_BY, reason=reason)


def _may_propose(source: Source, rule: SourceRule, stands: str | None) -> bool:
    """Whether nobody set such a rule, or only we a lower confidence, and none was taken back lately."""
    set_to = getattr(source.config, rule.kind.section).get(rule.field)
    if set_to is None:
        return stands != RuleStatus.TAKEN_BACK
    return rule.kind is RuleKind.CONFIDENCE and stands == RuleStatus.APPLIED and bool(rule.value > set_to)


def _share(right: int, wrong: int) -> float:
    return right / (right + wrong) if right + wrong else 1.0
