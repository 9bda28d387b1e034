"""Tests that go through several rooms: the same question to every stage."""
