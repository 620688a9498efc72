"""What each check compares, why it matters, and what it does not show."""

from collections.abc import Mapping
from dataclasses import dataclass

REVIEWS = "reviews"
"""The check that follows those of the report, where reviews are given or required."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Explanation:
    """A check in words."""

    compared: str
    matters: str
    not_shown: str


EXPLANATIONS: Mapping[str, Explanation] = {
    "form of the bundle": Explanation(
        compared="the file's bytes with the only spelling (RFC 8785) of the JSON that they hold, "
        "and with limits on size, depth and signatures",
        matters="two spellings of one report would be two files to argue about, and readers differ "
        "in what they make of odd JSON",
        not_shown="who wrote the file",
    ),
    "types of bundle and payload": Explanation(
        compared="the declared types with a Sigstore bundle v0.3 that holds in-toto JSON",
        matters="a signature over another kind of document must not pass for one over a report",
        not_shown="that the content is of this type: that is looked at once the signature holds",
    ),
    "key": Explanation(
        compared="the key that the bundle names with your trust file",
        matters="a bundle can name any key; only your own list says whose it is",
        not_shown="that the file is signed with it, nor that your list is right: that rests on how "
        "you got the key",
    ),
    "signature": Explanation(
        compared="the signature with the payload's bytes and their type, by the key of your file",
        matters="whoever lacks the private key cannot have altered a byte",
        not_shown="that the figures are right, or that the key was not stolen",
    ),
    "time-stamp tokens": Explanation(
        compared="every RFC 3161 token with the signature, by the certificates of the "
        "time-stamping authorities in your trust file",
        matters="the date in a report is its signer's word; a token is somebody else's word that "
        "the signature existed",
        not_shown="that it was not signed long before; without a token, or without authorities in "
        "your file, nothing but the signer's word says when",
    ),
    "types of statement and predicate": Explanation(
        compared="the types inside the signed payload with those of a report",
        matters="keys sign other documents too, such as reviews",
        not_shown="anything about the figures",
    ),
    "report": Explanation(
        compared="the signed report with the published schema",
        matters="a field that is missing, unknown or of another type would be read differently by "
        "different readers",
        not_shown="that the figures are right: the signer computed them; see the assurance",
    ),
    "signing time": Explanation(
        compared="the report's own date with the token, where there is one, and the time that "
        "counts (the token's, else the report's) with the key's validity in your trust file",
        matters="a key that has expired or was stolen must not sign under an older date",
        not_shown="without a token: that the date is true",
    ),
    "subjects": Explanation(
        compared="the SHA-256 of each file that you passed with the digest that was signed for its "
        "name",
        matters="a true report about another model says nothing about yours",
        not_shown="anything about files that are listed as not compared, or that the log tells "
        "what really happened",
    ),
    REVIEWS: Explanation(
        compared="each review's signature, subject, role, date and expiry with your trust file, "
        "the report's id and the time now",
        matters="whoever computed a report should not be the only one to vouch for it",
        not_shown="how thoroughly somebody looked, that conditions are met, or, where your trust "
        "file binds a key to no person, who it was",
    ),
}
"""Every check of :data:`auditor.attest.verify.CHECKS`, and the one of reviews."""
