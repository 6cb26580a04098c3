"""Heart-beats, for programs that speak STOMP by themselves."""

from stompy.protocol.heartbeat import HeartBeat, negotiate, parse_heart_beat

__all__ = ["HeartBeat", "negotiate", "parse_heart_beat"]
