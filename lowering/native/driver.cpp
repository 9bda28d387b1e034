// Runs a compiled kernel on arrays from files: once in program order, then in the orders asked for.
//
// In: a job, one fact a line (job.hpp).  Out: the outputs of program
// order in the files that hold the tensors, and on standard output one line per fact found.

#include <algorithm>
#include <cstring>
#include <utility>

#include "job.hpp"
#include "machine.hpp"

namespace {

// The order of a seed: each kind has the seeds for itself, "mixed" deals them out.
native::Order order_of(const Job &job, uint64_t seed)
{
    using native::Order;
    constexpr int units = native::CORES * (native::PIPES + 1);
    constexpr int depths[] = {64, 1, 4, 16};
    const std::string &name = job.order;
    Order order;
    order.seed = seed;
    order.signals_in_order = job.signals_in_order;
    const std::string kinds[] = {"worst", "priorities", "random", "round-robin"};
    const std::string kind = name == "mixed" ? kinds[seed % 4] : name;
    const uint64_t turn = name == "mixed" ? seed / 4 : seed;
    order.kind = kind == "worst"        ? Order::LATE
                 : kind == "priorities" ? Order::PRIORITIES
                 : kind == "random"     ? Order::RANDOM
                 : kind == "program"    ? Order::PROGRAM
                                        : Order::ROUND_ROBIN;
    order.late = static_cast<int>(turn % units);
    order.depth = depths[turn / units % 4];
    if (order.kind != Order::LATE) {
        order.depth = depths[turn % 4];
    }
    return order;
}

std::vector<native::Region> regions_of(const Job &job)
{
    std::vector<native::Region> found;
    for (const auto &t : job.tensors) {
        const auto low = reinterpret_cast<uint64_t>(t->bytes.data());
        found.push_back({t->name, low, low + t->bytes.size(), t->direction != "in", t->direction == "workspace"});
    }
    return found;
}

native::Outcome run_once(Job &job, const native::Order &order)
{
    for (auto &t : job.tensors) {
        if (t->direction != "in") {
            std::memcpy(t->bytes.data(), t->start.data(), t->start.size());
        }
    }
    return native::run(job.args.data(), job.block_num, regions_of(job), order);
}

void tell(const std::string &order, const native::Outcome &outcome)
{
    for (const auto &r : outcome.reports) {
        std::cout << "report\t" << order << "\t" << r.kind << "\t" << r.line << "\t" << r.block << "\t" << r.core
                  << "\t" << r.text << "\n";
    }
}

// A line for each text, its ends of lines as vertical tabs.
void tell_said(const std::vector<native::Said> &said)
{
    for (const auto &s : said) {
        std::string text = s.text;
        text.erase(text.find_last_not_of('\n') + 1);
        std::replace(text.begin(), text.end(), '\n', '\v');
        std::cout << "said\t" << text << "\n";
    }
}

// Each core says in every order what it says in program order.
void compare_said(std::vector<native::Said> found, std::vector<native::Said> want, uint64_t seed)
{
    const auto by_core = [](const native::Said &a, const native::Said &b) {
        return std::pair(a.block, a.core) < std::pair(b.block, b.core);
    };
    std::stable_sort(found.begin(), found.end(), by_core);
    std::stable_sort(want.begin(), want.end(), by_core);
    const auto [differs, end] = std::mismatch(found.begin(), found.end(), want.begin(), want.end());
    if (differs != found.end() || end != want.end()) {
        std::cout << "speaks\t" << seed << "\t" << differs - found.begin() << "\n";
    }
}

void compare(const Job &job, const std::vector<std::vector<char>> &want, uint64_t seed)
{
    for (size_t k = 0; k < job.tensors.size(); ++k) {
        const Tensor &t = *job.tensors[k];
        if (t.is_output() && std::memcmp(t.bytes.data(), want[k].data(), want[k].size()) != 0) {
            size_t at = 0;
            while (t.bytes[at] == want[k][at]) {
                ++at;
            }
            std::cout << "differs\t" << seed << "\t" << t.name << "\t" << at << "\n";
        }
    }
}

}  // namespace

int main(int argc, char **argv)
{
    if (argc != 2) {
        std::cerr << "usage: " << argv[0] << " JOB\n";
        return 2;
    }
    Job job = read_job(argv[1]);
    auto start = std::chrono::steady_clock::now();
    const auto first = run_once(job, native::Order{});
    tell("program", first);
    tell_said(first.said);
    std::cout << "seconds\t" << seconds_since(start) << "\n";
    std::vector<std::vector<char>> want;
    for (const auto &t : job.tensors) {
        want.push_back(t->bytes);
    }
    write_outputs(job);
    start = std::chrono::steady_clock::now();
    int64_t moves = 0;
    for (uint64_t seed = job.first_seed; seed < job.first_seed + job.seeds; ++seed) {
        const auto outcome = run_once(job, order_of(job, seed));
        moves += outcome.moves;
        tell(std::to_string(seed), outcome);
        compare(job, want, seed);
        compare_said(outcome.said, first.said, seed);
    }
    std::cout << "orders\t" << job.seeds << "\t" << seconds_since(start) << "\t" << moves << "\n";
    return 0;
}
