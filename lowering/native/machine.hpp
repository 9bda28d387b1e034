// Running a kernel on the asynchronous machine, in one order.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "native/machine.hpp"

namespace native {

// xorshift64*: the same numbers everywhere (Vigna, An experimental exploration of Marsaglia's xorshift
// generators, scrambled, ACM TOMS 42, 2016).
struct Random {
    uint64_t state;

    explicit Random(uint64_t seed) : state((seed * 2 + 0x9E3779B97F4A7C15u) | 1u) {}
    uint64_t next()
    {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        return state * 0x2545F4914F6CDD1Du;
    }
    uint64_t below(uint64_t n) { return (next() >> 11) % n; }
};

struct Order {
    enum Kind { PROGRAM, ROUND_ROBIN, RANDOM, LATE, PRIORITIES } kind = PROGRAM;
    uint64_t seed = 0;
    int late = 0;   // the unit that moves last: core * (PIPES + 1) + pipe, or PIPES for the scalar unit
    int depth = 64;  // parts that a queue holds
    bool signals_in_order = false;  // the signal of a push stays behind its data
};

struct Region {
    std::string name;
    uint64_t low, high;
    bool writable;
    bool by_block;  // every hardware block has its own equal part
};

struct Report {
    std::string kind, text;
    unsigned line;
    int64_t block;
    int core;
};

// What a core prints; texts that one line of the kernel prints are one.
struct Said {
    int64_t block;
    int core;
    std::string text;

    bool operator==(const Said &) const = default;
};

struct Outcome {
    bool good = true;
    int64_t moves = 0;
    std::vector<Report> reports;
    std::vector<Said> said;
};

// All blocks, one after the other, in one order.
Outcome run(int64_t *args, int64_t block_num, std::vector<Region> gm, const Order &order);

}  // namespace native
