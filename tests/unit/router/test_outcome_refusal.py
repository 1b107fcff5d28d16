"""Which beginnings decline, and which only look like it."""

import pytest

from router.outcome_refusal import is_refusal

DECLINES = """
I'm sorry, but I can't help with that.
I’m sorry, but I can’t assist with that request.
Sorry, I cannot provide that information.
I cannot provide instructions for that.
I can't assist with this.
I am unable to answer this question.
I'm not able to help with that.
As an AI language model, I cannot give medical advice.
Unfortunately, I am not able to comply with your request.
I apologize, but I won't write that.
I must decline.
We are unable to process this.
**I'm sorry**, I can't do that.
This request violates our policy.
抱歉，我无法回答这个问题。
很抱歉，我不能提供此类信息。
对不起，我无法协助您完成该请求。
作为一个人工智能助手，我无法提供这方面的帮助。
作为AI，我不能回答这个问题
我没有办法为您提供帮助。
非常抱歉，我目前无法为您提供相关信息。
您的问题涉及敏感内容，请换一个。
抱歉，我無法回答這個問題。
對不起，我不能協助您。
不便回答。
我拒绝回答这个问题。
抱歉,但我不能提供。
"""
ANSWERS = """
Sorry for the delay: the office opens at nine.
The capital of France is Paris.
I can help with that. First, open the form.
You cannot park here without a permit.
I can't stress enough how important the date is.
I can't wait to see it! The opening is on Monday.
People who are unable to come may send someone.
If you cannot log in, reset your password.
抱歉让您久等了，窗口九点开门。
办理身份证需要带户口本。
您无法在线办理时，可以到窗口办理。
不能提供原件的，可以提供复印件。
如果无法提供证明，请联系社区。
无法登录时，请先重置密码。
我可以帮您:先填写申请表。
该问题由社区负责。
"""


@pytest.mark.parametrize("text", DECLINES.strip().splitlines())
def test_a_refusal_is_seen(text: str) -> None:
    assert is_refusal(text)


@pytest.mark.parametrize("text", ANSWERS.strip().splitlines())
def test_an_answer_is_no_refusal(text: str) -> None:
    assert not is_refusal(text)


def test_what_is_declined_far_behind_the_beginning_is_an_answer() -> None:
    assert not is_refusal("The form is on the second page. " * 10 + "I'm sorry, but I can't help with that.")
