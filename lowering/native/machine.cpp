// The scheduler of the asynchronous machine: which pipe of which core does something next.
//
// Each core runs its kernel on a stack of its own (a fiber) and gives way after every instruction it
// issues, and while it is stopped.  A move is: a core issues its next instruction, a pipe starts the part
// at its head, work in flight finishes.  An order picks one of the moves that are possible; a seed
// picks the order.  Nothing here depends on time or on threads.

#include "machine.hpp"

#include <ucontext.h>

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <unordered_map>
#include <utility>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

extern "C" void cube_entry(int64_t *args);
extern "C" void vector_entry(int64_t *args);

namespace native {

namespace {

constexpr size_t STACK_BYTES = size_t{1} << 20;
constexpr size_t MOST_REPORTS = 8;

#define NATIVE_TEXT(NAME) #NAME,
const char *const PIPE_NAMES[] = {NATIVE_PIPES(NATIVE_TEXT) "ALL"};
#undef NATIVE_TEXT

struct Work {
    std::vector<Extent> reads;
    std::vector<Extent> writes;
    std::unique_ptr<Action> action;
};

struct Part {
    enum Kind { WORK, WAIT, SET, SIGNAL, BARRIER } kind;
    Where at;
    Work work = {};
    int src = 0, dst = 0, id = 0;  // of a wait or set
    int fifo = 0;                  // flag of a signal
};

// A part at the head starts; work in flight, and sets and signals behind it, wait for its end.
struct Queue {
    std::deque<Part> parts;
    std::vector<Part> flight;

    bool idle() const { return parts.empty() && flight.empty(); }
};

struct Core {
    Queue queues[PIPES];
    ucontext_t context;
    std::unique_ptr<char[]> stack;
    std::function<bool()> stopped_until;
    Where stopped_at;
    bool ended = true;
    bool rows_ended = false;
    std::vector<std::byte> memories[SPACES];
    std::vector<uint8_t> marks[SPACES];
    bool set[PIPES][PIPES][EVENT_IDS];
    Where setter[PIPES][PIPES][EVENT_IDS];
};

Core cores[CORES];
int signals[FIFO_FLAGS][CORES][CORES];  // flag, sender, receiver
int running = 0;
int64_t block = 0, blocks = 0;
ucontext_t scheduler;
int64_t *arguments = nullptr;
const Order *current = nullptr;
Random randomness{0};
std::vector<Region> regions;
std::unordered_map<const void *, Sum> sums;
Outcome *outcome = nullptr;
std::vector<int> ranks;
std::vector<int64_t> changes;
int64_t steps = 0;
size_t turn = 0;

void report(const char *kind, const std::string &text, const Where &at)
{
    if (outcome->reports.size() < MOST_REPORTS) {
        outcome->reports.push_back({kind, text, at.line(), block, running});
    }
    outcome->good = false;
}

std::string formed(const char *form, va_list numbers)
{
    va_list again;
    va_copy(again, numbers);
    std::vector<char> text(static_cast<size_t>(std::vsnprintf(nullptr, 0, form, numbers)) + 1);
    std::vsnprintf(text.data(), text.size(), form, again);
    va_end(again);
    return text.data();
}

std::string pipe_text(int core, int pipe)
{
    const std::string name = core == 0 ? "cube" : "vector lane " + std::to_string(core - 1);
    return name + " " + PIPE_NAMES[pipe];
}

std::string flag_text(int core, int src, int dst, int id)
{
    return pipe_text(core, src) + " -> " + PIPE_NAMES[dst] + " id " + std::to_string(id);
}

bool in_program_order() { return current->kind == Order::PROGRAM; }

Region part_of_block(const Region &r)
{
    if (!r.by_block) {
        return r;
    }
    const uint64_t size = (r.high - r.low) / static_cast<uint64_t>(blocks);
    const uint64_t low = r.low + size * static_cast<uint64_t>(block);
    return {r.name, low, low + size, r.writable, true};
}

// ----------------------------------------------------------------------------- fibers

#if defined(__SANITIZE_ADDRESS__)
void *scheduler_fake = nullptr;
const void *scheduler_bottom = nullptr;
size_t scheduler_size = 0;
void *fiber_fake[CORES];
#endif

void give_way()
{
    const int me = running;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(cores[me].ended ? nullptr : &fiber_fake[me], scheduler_bottom, scheduler_size);
#endif
    swapcontext(&cores[me].context, &scheduler);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(fiber_fake[me], &scheduler_bottom, &scheduler_size);
#endif
}

void resume(int c)
{
    running = c;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&scheduler_fake, cores[c].stack.get(), STACK_BYTES);
#endif
    swapcontext(&scheduler, &cores[c].context);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(scheduler_fake, nullptr, nullptr);
#endif
}

void fiber_main()
{
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(nullptr, &scheduler_bottom, &scheduler_size);
#endif
    (running == 0 ? cube_entry : vector_entry)(arguments);
    end_of_rows();
    cores[running].ended = true;
    give_way();
}

void stop_until(std::function<bool()> ready, const Where &at)
{
    Core &core = cores[running];
    if (in_program_order() && ready()) {
        return;
    }
    core.stopped_until = std::move(ready);
    core.stopped_at = at;
    give_way();
    cores[running].stopped_until = nullptr;
}

// ------------------------------------------------------------------------------- parts

bool overlap(const Extent &a, const Extent &b)
{
    return a.space == b.space && a.low < b.high && b.low < a.high && !(a.adds && b.adds);
}

bool meet(const std::vector<Extent> &a, const std::vector<Extent> &b, bool only_gm)
{
    for (const Extent &x : a) {
        for (const Extent &y : b) {
            if ((!only_gm || x.space == Space::GM) && overlap(x, y)) {
                return true;
            }
        }
    }
    return false;
}

// The work that starts must not touch what work in flight still reads or writes; a vector row reads before
// a later one of its pipe writes (docs/machine.md 6.3).
void check_race(int c, int p, const Part &late)
{
    for (int other = 0; other < CORES; ++other) {
        for (int q = 0; q < PIPES; ++q) {
            for (const Part &early : cores[other].queues[q].flight) {
                if (early.kind != Part::WORK) {
                    continue;
                }
                const bool far = other != c;
                const bool reads_first = !far && q == p && p == static_cast<int>(Pipe::V);
                if (meet(early.work.writes, late.work.reads, far) || meet(early.work.writes, late.work.writes, far) ||
                    (!reads_first && meet(early.work.reads, late.work.writes, far))) {
                    report("race",
                           pipe_text(c, p) + " starts while " + pipe_text(other, q) + " may still run line " +
                               std::to_string(early.at.line()),
                           late.at);
                }
            }
        }
    }
}

void fire_set(int c, const Part &part)
{
    bool &flag = cores[c].set[part.src][part.dst][part.id];
    if (flag) {
        report("double set", flag_text(c, part.src, part.dst, part.id) + " is still set", part.at);
    }
    flag = true;
    cores[c].setter[part.src][part.dst][part.id] = part.at;
}

void fire_signal(int c, const Part &part)
{
    for (int other = 0; other < CORES; ++other) {
        if ((c == 0) != (other == 0) && ++signals[part.fifo][c][other] > MOST_SIGNALS) {
            report("fifo", "more than 15 signals of flag " + std::to_string(part.fifo) + " are waiting", part.at);
        }
    }
}

// Sets and signals without earlier work in flight.
void fire(int c, int p)
{
    auto &flight = cores[c].queues[p].flight;
    while (!flight.empty() && flight.front().kind != Part::WORK) {
        const Part part = std::move(flight.front());
        flight.erase(flight.begin());
        part.kind == Part::SET ? fire_set(c, part) : fire_signal(c, part);
    }
}

// Sets and signals at the head of a queue do not hold it back.
void pass(int c, int p)
{
    Queue &queue = cores[c].queues[p];
    while (!queue.parts.empty() &&
           (queue.parts.front().kind == Part::SET || queue.parts.front().kind == Part::SIGNAL)) {
        queue.flight.push_back(std::move(queue.parts.front()));
        queue.parts.pop_front();
    }
    fire(c, p);
}

bool may_start(int c, int p)
{
    const Queue &queue = cores[c].queues[p];
    if (queue.parts.empty()) {
        return false;
    }
    const Part &head = queue.parts.front();
    if (head.kind == Part::WAIT) {
        return cores[c].set[head.src][head.dst][head.id];
    }
    return head.kind == Part::WORK || queue.flight.empty();
}

void start(int c, int p)
{
    Queue &queue = cores[c].queues[p];
    Part part = std::move(queue.parts.front());
    queue.parts.pop_front();
    if (part.kind == Part::WAIT) {
        cores[c].set[part.src][part.dst][part.id] = false;
    } else if (part.kind == Part::WORK) {
        check_race(c, p, part);
        running = c;
        if (p == static_cast<int>(Pipe::V)) {
            part.work.action->fetch();
        }
        queue.flight.push_back(std::move(part));
    }
    pass(c, p);
}

void finish(int c, int p, size_t n)
{
    Queue &queue = cores[c].queues[p];
    Part part = std::move(queue.flight[n]);
    queue.flight.erase(queue.flight.begin() + static_cast<std::ptrdiff_t>(n));
    running = c;
    if (p != static_cast<int>(Pipe::V)) {
        part.work.action->fetch();
    }
    part.work.action->commit();
    fire(c, p);
}

// One part right away: program order has no queues.
void do_now(int p, Part part)
{
    const int c = running;
    switch (part.kind) {
        case Part::WORK:
            part.work.action->fetch();
            part.work.action->commit();
            break;
        case Part::WAIT: {
            bool &flag = cores[c].set[part.src][part.dst][part.id];
            if (!flag) {
                report("wait", "no set of " + flag_text(c, part.src, part.dst, part.id) + " comes before this wait",
                       part.at);
            }
            flag = false;
            break;
        }
        case Part::SET: fire_set(c, part); break;
        case Part::SIGNAL: fire_signal(c, part); break;
        case Part::BARRIER: break;
    }
    (void)p;
}

void enqueue(Pipe pipe, Part part)
{
    const int c = running, p = static_cast<int>(pipe);
    if (in_program_order()) {
        do_now(p, std::move(part));
        return;
    }
    Queue &queue = cores[c].queues[p];
    const auto depth = static_cast<size_t>(current->depth);
    if (queue.parts.size() >= depth) {  // docs/machine.md 3.4: a full queue blocks the scalar unit
        stop_until([&queue, depth] { return queue.parts.size() < depth; }, part.at);
    }
    queue.parts.push_back(std::move(part));
    pass(c, p);
    give_way();
}

// ------------------------------------------------------------------------------ orders

struct Move {
    enum Kind { ISSUE, START, FINISH } kind;
    int core;
    int pipe;
    size_t part;
};

void find_moves(std::vector<Move> &moves)
{
    moves.clear();
    for (int c = 0; c < CORES; ++c) {
        for (int p = 0; p < PIPES; ++p) {
            const auto &flight = cores[c].queues[p].flight;
            for (size_t n = 0; n < flight.size(); ++n) {
                if (flight[n].kind == Part::WORK) {
                    moves.push_back({Move::FINISH, c, p, n});
                }
            }
            if (may_start(c, p)) {
                moves.push_back({Move::START, c, p, 0});
            }
        }
        if (!cores[c].ended && (!cores[c].stopped_until || cores[c].stopped_until())) {
            moves.push_back({Move::ISSUE, c, 0, 0});
        }
    }
}

int unit_of(const Move &move) { return move.core * (PIPES + 1) + (move.kind == Move::ISSUE ? PIPES : move.pipe); }

const Move &any_of(const std::vector<Move> &moves) { return moves[randomness.below(moves.size())]; }

// The moves of one unit, chosen from ``moves`` by the largest ``value`` of a unit.
template <typename Value>
Move best_of(std::vector<Move> &moves, Value value)
{
    int best = value(unit_of(moves[0]));
    for (const Move &m : moves) {
        best = std::max(best, value(unit_of(m)));
    }
    std::erase_if(moves, [&](const Move &m) { return value(unit_of(m)) != best; });
    return any_of(moves);
}

Move chosen(std::vector<Move> &moves)
{
    constexpr int units = CORES * (PIPES + 1);
    ++steps;
    switch (current->kind) {
        case Order::LATE: {  // one pipe moves only when nothing else can
            const int late = current->late;
            return best_of(moves, [late](int unit) { return unit == late ? 0 : 1; });
        }
        case Order::PRIORITIES: {
            const Move move = best_of(moves, [](int unit) { return ranks[static_cast<size_t>(unit)]; });
            if (std::find(changes.begin(), changes.end(), steps) != changes.end()) {
                ranks[static_cast<size_t>(unit_of(move))] = static_cast<int>(-steps);
            }
            return move;
        }
        case Order::ROUND_ROBIN: {
            const int next = static_cast<int>(turn);
            const Move move = best_of(moves, [next](int unit) { return -((unit - next + units) % units); });
            turn = static_cast<size_t>((unit_of(move) + 1) % units);
            return move;
        }
        default: return any_of(moves);
    }
}

void prepare_order()
{
    constexpr int units = CORES * (PIPES + 1);
    randomness = Random{current->seed * 0x9E3779B97F4A7C15u + static_cast<uint64_t>(block)};
    ranks.assign(units, 0);
    for (int k = 0; k < units; ++k) {
        ranks[static_cast<size_t>(k)] = k + 1;
        std::swap(ranks[static_cast<size_t>(k)], ranks[randomness.below(static_cast<uint64_t>(k) + 1)]);
    }
    changes.clear();
    for (int k = 0; k < 3; ++k) {
        changes.push_back(static_cast<int64_t>(randomness.below(4096)));
    }
    steps = 0;
    turn = 0;
}

// --------------------------------------------------------------------------------- run

void clear_block()
{
    for (Core &core : cores) {
        for (int s = 0; s < SPACES; ++s) {
            core.memories[s].assign(static_cast<size_t>(ROOMS[s].capacity), std::byte{0xFF});
            core.marks[s].assign(static_cast<size_t>(ROOMS[s].capacity), 0);
        }
        for (Queue &queue : core.queues) {
            queue.parts.clear();
            queue.flight.clear();
        }
        std::memset(core.set, 0, sizeof(core.set));
        core.stopped_until = nullptr;
    }
    std::memset(signals, 0, sizeof(signals));
}

void start_fiber(Core &core)
{
    if (!core.stack) {
        core.stack = std::make_unique<char[]>(STACK_BYTES);
    }
    getcontext(&core.context);
    core.context.uc_stack.ss_sp = core.stack.get();
    core.context.uc_stack.ss_size = STACK_BYTES;
    core.context.uc_link = nullptr;
    makecontext(&core.context, fiber_main, 0);
    core.ended = false;
    core.rows_ended = false;
}

void report_deadlock()
{
    for (int c = 0; c < CORES; ++c) {
        if (!cores[c].ended) {
            running = c;
            report("deadlock", "nothing can move; the scalar unit stops here", cores[c].stopped_at);
        }
        for (int p = 0; p < PIPES; ++p) {
            if (!cores[c].queues[p].parts.empty()) {
                report("deadlock", "nothing can move; " + pipe_text(c, p) + " stops here",
                       cores[c].queues[p].parts.front().at);
            }
        }
    }
}

void check_end()
{
    for (int c = 0; c < CORES; ++c) {
        for (int src = 0; src < PIPES; ++src) {
            for (int dst = 0; dst < PIPES; ++dst) {
                for (int id = 0; id < EVENT_IDS; ++id) {
                    if (cores[c].set[src][dst][id]) {
                        report("leftover", flag_text(c, src, dst, id) + " is still set at the end",
                               cores[c].setter[src][dst][id]);
                    }
                }
            }
        }
    }
    for (int flag = 0; flag < FIFO_FLAGS; ++flag) {
        for (int a = 0; a < CORES; ++a) {
            for (int b = 0; b < CORES; ++b) {
                if (signals[flag][a][b] != 0) {
                    report("fifo", "signals of flag " + std::to_string(flag) + " are left at the end", Where{});
                    return;
                }
            }
        }
    }
}

void run_block()
{
    clear_block();
    std::for_each(std::begin(cores), std::end(cores), start_fiber);
    prepare_order();
    std::vector<Move> moves;
    while (true) {
        find_moves(moves);
        if (moves.empty()) {
            break;
        }
        const Move move = in_program_order() ? moves.front() : chosen(moves);
        switch (move.kind) {
            case Move::ISSUE: resume(move.core); break;
            case Move::START: start(move.core, move.pipe); break;
            case Move::FINISH: finish(move.core, move.pipe, move.part); break;
        }
        ++outcome->moves;
    }
    const bool ended = std::all_of(std::begin(cores), std::end(cores), [](const Core &core) {
        return core.ended && std::all_of(std::begin(core.queues), std::end(core.queues),
                                         [](const Queue &q) { return q.idle(); });
    });
    ended ? check_end() : report_deadlock();
}

}  // namespace

// --------------------------------------------------------------- what instructions call

void issue(Pipe pipe, std::vector<Extent> reads, std::vector<Extent> writes, Action *action, const Where &at)
{
    enqueue(pipe, {Part::WORK, at, {std::move(reads), std::move(writes), std::unique_ptr<Action>(action)}});
}

void set_flag(Pipe src, Pipe dst, int id, const Where &at)
{
    const int s = static_cast<int>(src), d = static_cast<int>(dst);
    if (id < 0 || id >= EVENT_IDS || s == d) {
        report("id", "no such flag: " + flag_text(running, s, d, id), at);
        return;
    }
    Part part{Part::SET, at, {}, s, d, id};
    if (src == Pipe::S) {
        fire_set(running, part);
        return;
    }
    enqueue(src, std::move(part));
}

void wait_flag(Pipe src, Pipe dst, int id, const Where &at)
{
    const int s = static_cast<int>(src), d = static_cast<int>(dst);
    if (id < 0 || id >= EVENT_IDS || s == d) {
        report("id", "no such flag: " + flag_text(running, s, d, id), at);
        return;
    }
    Part part{Part::WAIT, at, {}, s, d, id};
    if (dst != Pipe::S) {
        enqueue(dst, std::move(part));
        return;
    }
    if (in_program_order()) {
        do_now(d, std::move(part));
        return;
    }
    Core &core = cores[running];
    stop_until([&core, s, d, id] { return core.set[s][d][id]; }, at);
    core.set[s][d][id] = false;
}

void barrier(Pipe pipe, const Where &at)
{
    if (pipe != Pipe::ALL) {
        enqueue(pipe, {Part::BARRIER, at});
        return;
    }
    Core &core = cores[running];
    stop_until([&core] { return std::all_of(std::begin(core.queues), std::end(core.queues), [](const Queue &q) { return q.idle(); }); }, at);
}

void signal(Pipe pipe, int flag, Tells what, const Where &at)
{
    Part part{Part::SIGNAL, at};
    part.fifo = flag;
    if (what == Tells::FREE || current->signals_in_order) {
        enqueue(pipe, std::move(part));
        return;
    }
    fire_signal(running, part);
    if (!in_program_order()) {
        give_way();
    }
}

void wait_signal(int flag, const Where &at)
{
    const int me = running;
    const int first = me == 0 ? 1 : 0, last = me == 0 ? LANES : 0;
    stop_until(
        [=] {
            for (int c = first; c <= last; ++c) {
                if (signals[flag][c][me] == 0) {
                    return false;
                }
            }
            return true;
        },
        at);
    for (int c = first; c <= last; ++c) {
        --signals[flag][c][me];
    }
}

void end_of_rows()
{
    Core &core = cores[running];
    if (std::exchange(core.rows_ended, true)) {
        return;
    }
    const auto writes_gm = [](const Part &part) {
        return std::any_of(part.work.writes.begin(), part.work.writes.end(),
                           [](const Extent &e) { return e.space == Space::GM; });
    };
    const auto tell = [&](const Part &part) {
        if (writes_gm(part)) {
            report("undrained", "the kernel may end before this is written", part.at);
        }
    };
    for (const Queue &queue : core.queues) {
        std::for_each(queue.flight.begin(), queue.flight.end(), tell);
        std::for_each(queue.parts.begin(), queue.parts.end(), tell);
    }
}

int core() { return running; }
int64_t block_index() { return block; }
int64_t block_count() { return blocks; }

std::byte *memory(Space space) { return cores[running].memories[static_cast<int>(space)].data(); }
uint8_t *written(Space space) { return cores[running].marks[static_cast<int>(space)].data(); }

void report(const char *kind, const char *text, const Where &at) { report(kind, std::string(text), at); }

int say(const char *form, ...)
{
    va_list numbers;
    va_start(numbers, form);
    outcome->said.push_back({block, running, formed(form, numbers)});
    va_end(numbers);
    return static_cast<int>(outcome->said.back().text.size());
}

void say_more(const char *form, ...)
{
    auto &said = outcome->said;
    const auto last = std::find_if(said.rbegin(), said.rend(), [](const Said &s) { return s.core == running; });
    if (last != said.rend()) {
        va_list numbers;
        va_start(numbers, form);
        last->text += formed(form, numbers);
        va_end(numbers);
    }
}

void scalar_reads(const Where &at)
{
    const Core &core = cores[running];
    if (!std::all_of(std::begin(core.queues), std::end(core.queues), [](const Queue &q) { return q.idle(); })) {
        report("race", "the scalar unit reads a tile while a pipe is at work", at);
    }
}

bool inside_gm(const void *first, uint64_t bytes, bool writes, const Where &at)
{
    const auto low = reinterpret_cast<uint64_t>(first);
    for (const Region &whole : regions) {
        const Region r = part_of_block(whole);
        if (low >= r.low && low + bytes <= r.high) {
            if (writes && !r.writable) {
                report("input", r.name + " is an input and is written", at);
                return false;
            }
            return true;
        }
    }
    for (const Region &r : regions) {
        if (low + bytes > r.low && low < r.high) {
            report("out of range", "an access leaves " + r.name, at);
            return false;
        }
    }
    report("out of range", "an access is outside of every tensor", at);
    return false;
}

bool written_gm(const void *first)
{
    const auto low = reinterpret_cast<uint64_t>(first);
    return std::any_of(regions.begin(), regions.end(),
                       [low](const Region &r) { return r.writable && low >= r.low && low < r.high; });
}

Sum &sum_of(const void *element, float held)
{
    const auto [found, is_new] = sums.try_emplace(element);
    if (is_new) {
        found->second.add(held);
    }
    return found->second;
}

void forget_sum(const void *element)
{
    if (!sums.empty()) {
        sums.erase(element);
    }
}

Outcome run(int64_t *args, int64_t block_num, std::vector<Region> gm, const Order &order)
{
    Outcome found;
    outcome = &found;
    arguments = args;
    blocks = block_num;
    regions = std::move(gm);
    sums.clear();
    current = &order;
    for (block = 0; block < blocks; ++block) {
        run_block();
    }
    return found;
}

}  // namespace native
