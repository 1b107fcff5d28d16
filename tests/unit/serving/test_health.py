from serving.health import Answer, Limits, Sighting, complaint, ending, retry_after_s

LIMITS = Limits(ready_timeout_s=300, unresponsive_s=60)


def test_an_engine_that_starts_may_be_silent() -> None:
    seen = Sighting(started_s=100).after(Answer.SILENT, 399)
    assert complaint(seen, LIMITS, 399) is None


def test_an_engine_that_is_not_ready_in_time_is_complained_of() -> None:
    assert complaint(Sighting(started_s=100), LIMITS, 401) == "was not ready after 300 s"


def test_an_error_before_it_was_ready_is_part_of_starting() -> None:
    seen = Sighting(started_s=100).after(Answer.SICK, 110)
    assert complaint(seen, LIMITS, 110) is None
    assert seen.ready_s is None


def test_the_first_answer_makes_it_ready_and_later_ones_do_not_move_that() -> None:
    seen = Sighting(started_s=100).after(Answer.WELL, 130).after(Answer.WELL, 140)
    assert (seen.ready_s, seen.answered_s) == (130, 140)
    assert seen.held_ready_s(150) == 20


def test_a_short_silence_is_borne_and_a_long_one_is_not() -> None:
    seen = Sighting(started_s=100).after(Answer.WELL, 130).after(Answer.SILENT, 189)
    assert complaint(seen, LIMITS, 189) is None
    assert complaint(seen, LIMITS, 191) == "has not answered on /health for 60 s"


def test_an_engine_that_says_it_is_broken_is_believed_at_once() -> None:
    seen = Sighting(started_s=100).after(Answer.WELL, 130).after(Answer.SICK, 131)
    assert complaint(seen, LIMITS, 131) == "reports on /health that it is broken"


def test_an_answer_after_silence_ends_the_silence() -> None:
    seen = Sighting(started_s=100).after(Answer.WELL, 130).after(Answer.SILENT, 180).after(Answer.WELL, 185)
    assert complaint(seen, LIMITS, 240) is None


def test_the_time_to_come_back_is_what_the_last_start_took_less_what_has_passed() -> None:
    assert retry_after_s(last_start_s=40, running_for_s=15) == 25
    assert retry_after_s(last_start_s=40, running_for_s=0, wait_s=8) == 48


def test_a_start_that_takes_longer_than_last_time_is_asked_for_again_soon() -> None:
    assert retry_after_s(last_start_s=40, running_for_s=90) == 1


def test_before_any_start_a_usual_one_is_expected() -> None:
    assert retry_after_s(last_start_s=None, running_for_s=0) == 60


def test_an_engine_that_ends_by_itself_is_quoted() -> None:
    assert ending(1, "ValueError: no") == "ended with status 1: ValueError: no"


def test_an_engine_that_was_killed_is_said_to_be_and_memory_is_named_as_a_reason() -> None:
    assert ending(137, "x") == "was killed by SIGKILL (by hand, or by the kernel for want of memory)"
    assert ending(-9, "x").startswith("its guard was killed by SIGKILL")


def test_a_crash_is_named_with_the_last_words() -> None:
    assert ending(139, "free(): invalid pointer") == "was killed by SIGSEGV: free(): invalid pointer"
