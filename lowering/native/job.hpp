// A job: the arguments of a compiled kernel, read from files (lowering/native/job.py writes them).
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <memory>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "include/tensor.h"

struct Tensor {
    std::string name, file, direction;
    std::vector<char> start, bytes;
    ChipTensor chip{};

    bool is_output() const { return direction == "out" || direction == "inout"; }
};

struct Job {
    int64_t block_num = 1;
    std::string order = "program";
    uint64_t first_seed = 0, seeds = 0;
    bool signals_in_order = false;
    std::vector<std::unique_ptr<Tensor>> tensors;
    std::vector<int64_t> args;
};

inline std::vector<char> content(const std::string &file, size_t bytes)
{
    std::vector<char> found(bytes, static_cast<char>(0xFF));
    if (file != "-") {
        std::ifstream in(file, std::ios::binary);
        in.read(found.data(), static_cast<std::streamsize>(bytes));
        if (static_cast<size_t>(in.gcount()) != bytes) {
            std::cerr << "cannot read " << file << "\n";
            std::exit(2);
        }
    }
    return found;
}

inline void add_tensor(Job &job, std::istringstream &words)
{
    auto t = std::make_unique<Tensor>();
    size_t bytes = 0;
    words >> t->name >> t->direction >> t->file >> bytes >> t->chip.ndims;
    for (uint32_t k = 0; k < t->chip.ndims; ++k) {
        words >> t->chip.shapes[k];
    }
    t->start = content(t->file, bytes);
    t->bytes = t->start;
    t->chip.buffer.addr = reinterpret_cast<uint64_t>(t->bytes.data());
    t->chip.buffer.size = bytes;
    job.args.push_back(reinterpret_cast<int64_t>(&t->chip));
    job.tensors.push_back(std::move(t));
}

inline Job read_job(const char *file)
{
    Job job;
    std::ifstream in(file);
    for (std::string line; std::getline(in, line);) {
        std::istringstream words(line);
        std::string what;
        words >> what;
        if (what == "block_num") {
            words >> job.block_num;
        } else if (what == "order") {
            words >> job.order >> job.first_seed >> job.seeds;
        } else if (what == "signals_in_order") {
            words >> job.signals_in_order;
        } else if (what == "tensor") {
            add_tensor(job, words);
        } else if (what == "scalar") {
            uint64_t bits = 0;
            words >> bits;
            job.args.push_back(static_cast<int64_t>(bits));
        }
    }
    job.args.resize(50);
    return job;
}

inline void write_outputs(const Job &job)
{
    for (const auto &t : job.tensors) {
        if (t->is_output()) {
            std::ofstream(t->file, std::ios::binary).write(t->bytes.data(), static_cast<std::streamsize>(t->bytes.size()));
        }
    }
}

inline double seconds_since(std::chrono::steady_clock::time_point start)
{
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}
