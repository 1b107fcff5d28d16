from cluster.checks import doctor
from cluster.settings_file import profile


def test_every_check_gives_one_finding_under_a_name_of_its_own() -> None:
    findings = doctor(profile("tiny"), frozenset())
    names = [finding.name for finding in findings]
    assert len(set(names)) == len(names)
    assert names[0] == "Python"
    assert all(finding.remedy for finding in findings if finding.verdict == "fail")
