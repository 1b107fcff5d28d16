"""The bench of the school: is what is learnt better, is it fast, does it come out the same when it is killed."""
