from stompy.protocol.frame import STOMPFrame
from stompy.session.receivers import Receivers


def message(sub_id: str, number: int) -> STOMPFrame:
    return STOMPFrame("MESSAGE", headers={"subscription": sub_id, "message-id": str(number)})


def test_messages_find_their_way_and_the_rest_keeps_its_order():
    receivers: Receivers[str] = Receivers()
    assert not receivers
    receivers.add("a", "Ann")
    receivers.add("b", "Bob")
    receipt = STOMPFrame("RECEIPT")
    frames = [message("a", 1), message("x", 2), receipt, message("b", 3), message("a", 4)]
    batches, others = receivers.sort(frames)
    assert batches == {"Ann": [frames[0], frames[4]], "Bob": [frames[3]]}
    assert others == [frames[1], receipt]


def test_what_comes_for_an_ended_subscription_is_dropped():
    receivers: Receivers[str] = Receivers()
    receivers.add("a", "Ann")
    assert receivers.remove("a")
    assert not receivers.remove("b")  # one that only its id was known of
    assert receivers
    assert receivers.sort([message("a", 1), message("b", 2)]) == ({}, [])
    receivers.add("a", "Eve")  # the id is used again
    assert receivers.sort([message("a", 3)]) == ({"Eve": [message("a", 3)]}, [])


def test_only_so_many_ended_ones_are_remembered():
    receivers: Receivers[str] = Receivers()
    for number in range(1001):
        receivers.remove(str(number))
    batches, others = receivers.sort([message("0", 1), message("1000", 2)])
    assert (batches, others) == ({}, [message("0", 1)])
