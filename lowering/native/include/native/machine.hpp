// The asynchronous machine that runs emitted kernels on the host: what an instruction asks of it.
//
// Three cores run one kernel each (the cube, two vector lanes), every core with a scalar unit that
// issues in program order and pipes that start their work in order.  An instruction does nothing when it
// is called: it puts work into the queue of its pipe.  A seeded scheduler (machine.cpp) decides what
// happens next.  The rules are docs/machine.md 9: a set fires when all earlier work of its pipe is
// complete, a wait holds its pipe back until the flag is set, a wait on S stops the core.
#pragma once

// Every kernel is compiled with this twice.  <string> and <memory> would add a third to that time.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "native/sum.hpp"

namespace native {

// A line of the running source: as a default argument, that of the caller.
struct Where {
    unsigned number = 0;

    constexpr unsigned line() const { return number; }
    static constexpr Where current(unsigned at = __builtin_LINE()) { return {at}; }
};

// docs/machine.md 3.1: the pipes of a core.
#define NATIVE_PIPES(X) X(S) X(V) X(MTE1) X(MTE2) X(MTE3) X(M) X(FIX)

// docs/machine.md 2.1, 2.2: name, tile type, bytes, alignment of a tile: 32 bytes everywhere; whole fractals for
// the operands and results of products.  L1 and UB end 256 bytes early, L1 so by a fractal; 8 KiB of UB in
// front of that are scratch of library instructions.
#define NATIVE_SPACES(X)               \
    X(L1, Mat, 523776, 512)            \
    X(L0A, Left, 64 << 10, 512)        \
    X(L0B, Right, 64 << 10, 512)       \
    X(L0C, Acc, 128 << 10, 1024)       \
    X(FB, Scaling, 2 << 10, 128)       \
    X(UB, Vec, 188160, 32)

#define NATIVE_NAME(NAME, ...) NAME,
enum class Pipe : uint8_t { NATIVE_PIPES(NATIVE_NAME) ALL };
enum class Space : uint8_t { NATIVE_SPACES(NATIVE_NAME) GM };
#undef NATIVE_NAME
constexpr int PIPES = static_cast<int>(Pipe::ALL);
constexpr int SPACES = static_cast<int>(Space::GM);  // on chip

struct Room {
    int64_t capacity, alignment;
};
#define NATIVE_ROOM(NAME, TYPE, BYTES, ALIGNMENT) {BYTES, ALIGNMENT},
constexpr Room ROOMS[SPACES] = {NATIVE_SPACES(NATIVE_ROOM)};
#undef NATIVE_ROOM
constexpr Room room(Space space) { return ROOMS[static_cast<int>(space)]; }

constexpr int LANES = 2;
constexpr int CORES = 1 + LANES;
constexpr int EVENT_IDS = 8;      // docs/machine.md 4.2
constexpr int FIFO_FLAGS = 16;    // docs/machine.md 5.1
constexpr int MOST_SIGNALS = 15;  // docs/machine.md 5.1: a 4-bit counter

// Bytes that an instruction touches: an offset on chip, a host address in GM.  What only adds to them meets
// nothing that only adds: a term is added at one moment (docs/machine.md 3.6).
struct Extent {
    Space space;
    uint64_t low;
    uint64_t high;
    bool adds = false;
};

// What an instruction does.  ``fetch`` reads and ``commit`` writes; a vector instruction fetches when it
// starts and commits when it finishes, all others do both at one moment in between.
struct Action {
    virtual ~Action() = default;
    virtual void fetch() = 0;
    virtual void commit() = 0;
};

// Issued by the running core, at a line of its source; the action belongs to the machine from then on.
void issue(Pipe pipe, std::vector<Extent> reads, std::vector<Extent> writes, Action *action, const Where &at);
void set_flag(Pipe src, Pipe dst, int id, const Where &at);
void wait_flag(Pipe src, Pipe dst, int id, const Where &at);
void barrier(Pipe pipe, const Where &at);

// FIFO signals between the cube and the lanes of its cluster, awaited by S.  A free signal is queued in its
// pipe and fires when all earlier work of the pipe is complete.  So does a data signal under the lenient reading
// (docs/machine.md 5.5); under the strict one it arrives when it is issued, whatever its pipe has not done yet.
enum class Tells { DATA, FREE };
void signal(Pipe pipe, int flag, Tells what, const Where &at);
void wait_signal(int flag, const Where &at);

// The last row of a kernel is issued: what it writes to GM must be there (docs/machine.md R10).
void end_of_rows();

// The running core: 0 is the cube, 1 and 2 are the lanes.
int core();
int64_t block_index();
int64_t block_count();

// Memory of the running core, and whether each byte was written since the block started.
std::byte *memory(Space space);
uint8_t *written(Space space);

// Something is wrong at a line of the source; the run goes on where it can.
void report(const char *kind, const char *text, const Where &at);
// Whether an access lies inside one tensor or workspace that may be accessed so; reports if not.
bool inside_gm(const void *first, uint64_t bytes, bool writes, const Where &at);
// Whether anything ever writes to the tensor that this address belongs to.
bool written_gm(const void *first);

// The running core prints: a text of its own, formed as by printf, whose length it gives; or more of its last one.
int say(const char *form, ...);
void say_more(const char *form, ...);
// The scalar unit reads on chip, where no pipe may be at work; reports if one is.
void scalar_reads(const Where &at);

// The sum of what an element of GM held and of all that was added since.
Sum &sum_of(const void *element, float held);
// The element was written, and not added to.
void forget_sum(const void *element);

}  // namespace native
