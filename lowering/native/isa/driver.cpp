// Runs a kernel that was compiled against a checkout of the tile library, in its simulator mode.
//
// In: a job (job.hpp).  Out: the outputs in the files that hold the tensors, and the seconds it took.
// Hardware blocks run one after the other, each on three threads: the cube and both lanes.  The library's
// pipe and memories are its own; the memories are as small as the device's and start as NaN.

#include <cstdint>

#include <pto/pto-inst.hpp>

#include <algorithm>
#include <array>
#include <ctime>
#include <map>
#include <mutex>
#include <thread>

#include "../job.hpp"
#include "intrinsic.h"

extern "C" void cube_entry(int64_t *args);
extern "C" void vector_entry(int64_t *args);

namespace {

constexpr int LANES = 2;
constexpr const char *UB_BYTES = "196608";  // the library's default is larger than the device's
constexpr std::chrono::seconds PATIENCE{10};

thread_local uint32_t lane = 0;

// What the cores of a block share: the state of each pipe, zero at first.
class Shared {
  public:
    void *state(uint64_t pipe, size_t bytes)
    {
        const std::lock_guard<std::mutex> lock(mutex);
        auto &found = states[pipe];
        if (found.empty()) {
            found.resize(bytes / sizeof(Line) + 1);
        }
        return found.data();
    }
    void clear() { states.clear(); }

  private:
    struct alignas(64) Line {
        std::array<char, 64> bytes{};
    };
    std::mutex mutex;
    std::map<uint64_t, std::vector<Line>> states;
};

Shared shared;

void poison()
{
    auto &memory = pto::NPUMemoryModel::Instance();
    memory.Initialize(pto::NPUArch::A2A3);
    char *const bases[] = {memory.GetUBBase(), memory.GetL1Base(), memory.GetL0ABase(), memory.GetL0BBase(),
                           memory.GetL0CBase()};
    const auto *size = std::begin(memory.GetSizes()) + 1;  // behind the registers
    for (char *base : bases) {
        std::fill_n(base, *size++, static_cast<char>(0xFF));
    }
}

void run_core(void (*entry)(int64_t *), std::vector<int64_t> args, isa::Launch launch)
{
    poison();
    lane = static_cast<uint32_t>(launch.lane);
    args[isa::LAUNCH] = reinterpret_cast<int64_t>(&launch);
    entry(args.data());
}

void run_block(const Job &job, int64_t block)
{
    std::vector<std::thread> cores;
    cores.emplace_back(run_core, cube_entry, job.args, isa::Launch{block, job.block_num, 0});
    for (int64_t k = 0; k < LANES; ++k) {
        cores.emplace_back(run_core, vector_entry, job.args, isa::Launch{block, job.block_num, k});
    }
    for (auto &core : cores) {
        core.join();
    }
    shared.clear();
}

// The library's pipe waits without end: when no core computes any more, each waits for another.
void end_when_idle()
{
    auto last = std::chrono::steady_clock::now();
    for (std::clock_t used = std::clock();;) {
        std::this_thread::sleep_for(std::chrono::milliseconds(500));
        const std::clock_t now = std::clock();
        if (now - used > CLOCKS_PER_SEC / 100) {
            used = now;
            last = std::chrono::steady_clock::now();
        } else if (std::chrono::steady_clock::now() - last > PATIENCE) {
            std::cerr << "deadlock: every core waits for another\n";
            std::_Exit(3);
        }
    }
}

}  // namespace

// The library looks these two up by name.
extern "C" uint32_t pto_sim_get_subblock_id() { return lane; }
extern "C" void *pto_sim_get_pipe_shared_state(uint64_t pipe, size_t bytes) { return shared.state(pipe, bytes); }

int main(int argc, char **argv)
{
    if (argc != 2) {
        std::cerr << "usage: " << argv[0] << " JOB\n";
        return 2;
    }
    setenv("PTO_CPU_SIM_UB_BYTES", UB_BYTES, 1);
    const Job job = read_job(argv[1]);
    std::thread(end_when_idle).detach();
    const auto start = std::chrono::steady_clock::now();
    for (int64_t block = 0; block < job.block_num; ++block) {
        run_block(job, block);
    }
    std::cout << "seconds\t" << seconds_since(start) << "\n";
    write_outputs(job);
    return 0;
}
