// FIFOs between the cube and the vector lanes of a cluster: a ring of slots in GM and two signals.
//
// A push waits for a free slot once every period, stores, and signals; a pop waits for the signal, loads
// into its local ring, and once every period says that slots are free (docs/machine.md 5.2, 5.3).  Both can be
// switched off; the end of the pipe waits for the free signals of the tiles it has counted nevertheless.
#pragma once

#include "native/ops.hpp"

namespace pto {

enum class Direction { DIR_C2V, DIR_V2C };
enum class TileSplitAxis { TILE_NO_SPLIT, TILE_UP_DOWN, TILE_LEFT_RIGHT };
using enum TileSplitAxis;

// Under this runtime the built-in register reads 0 on both lanes (docs/machine.md 13).
inline int64_t get_subblockid() { return 0; }

template <uint8_t Flag, Direction direction, uint32_t SlotSize, uint32_t Slots, uint32_t LocalSlots = 2>
struct TPipe {
    static_assert(Flag + 1 < native::FIFO_FLAGS, "two flags of sixteen");
    static_assert(Slots >= 1 && LocalSlots >= 1, "a ring has slots");
    static constexpr bool to_vector = direction == Direction::DIR_C2V;
    static constexpr uint32_t Period = Slots <= 2 ? Slots : Slots / 2;
    static constexpr int data_flag = Flag, free_flag = Flag + 1;
    static constexpr uint32_t SlotBytes = SlotSize, SlotCount = Slots, LocalCount = LocalSlots;

    static bool shouldWaitFree(uint32_t tile) { return tile >= Slots && tile % Period == 0; }
    static bool shouldNotifyFree(uint32_t tile) { return (tile + 1) % Period == 0; }

    struct Producer {
        int entryOffset = 0;
        uint32_t tileIndex = 0;
        bool isAllocate = true, isRecord = true;

        void setAllocateStatus(bool on) { isAllocate = on; }
        void setRecordStatus(bool on) { isRecord = on; }
        void setTileId(int tile, int) { tileIndex = static_cast<uint32_t>(tile); }
        void allocate(const Where &at = Where::current()) { native::wait_signal(free_flag, at); }
        void record(const Where &at = Where::current())
        {
            native::signal(to_vector ? Pipe::FIX : Pipe::MTE3, data_flag, native::Tells::DATA, at);
        }
    };
    struct Consumer {
        int entryOffset = 0;
        uint32_t tileIndex = 0;
        bool isFree = true, isWait = true;

        void setWaitStatus(bool on) { isWait = on; }
        void setFreeStatus(bool on) { isFree = on; }
        void wait(const Where &at = Where::current()) { native::wait_signal(data_flag, at); }
        void free(const Where &at = Where::current())
        {
            native::signal(native::Pipe::MTE2, free_flag, native::Tells::FREE, at);
        }
    };

    std::byte *ring;
    int64_t local_base;
    Producer prod;
    Consumer cons;
    Where made;

    template <typename T>
    TPipe(T *ring_, int64_t c2v_base, int64_t v2c_base, const Where &at = Where::current())
        : ring(reinterpret_cast<std::byte *>(ring_)), local_base(to_vector ? c2v_base : v2c_base), made(at)
    {
    }
    TPipe(const TPipe &) = delete;

    // The producer takes the free signals that nobody waited for.  How many has changed from one version
    // of the library to the next (docs/machine.md 5.4): no kernel may rest on it to drain its pipes.
    ~TPipe()
    {
        native::end_of_rows();
        uint32_t waited = 0;
        for (uint32_t k = Slots; k < prod.tileIndex; ++k) {
            waited += k % Period == 0 ? 1 : 0;
        }
        for (uint32_t k = waited; k < prod.tileIndex / Period; ++k) {
            native::wait_signal(free_flag, made);
        }
    }

    std::byte *slot(uint32_t number, int offset) const { return ring + (number % Slots) * SlotSize + offset; }
};

// A slot, or what a lane has of it, as rows in GM: half of the rows, or of the columns.
template <typename Tile_, TileSplitAxis Split>
struct SlotRows {
    using DType = typename Tile_::DType;
    static constexpr Layout layout = Layout::ND;
    static constexpr int64_t pitch = Tile_::Cols * (Split == TILE_LEFT_RIGHT && is_vec<Tile_> ? 2 : 1);
    DType *first;

    int64_t rows() const { return Tile_::Rows; }
    int64_t cols() const { return Tile_::Cols; }
    DType *at(int64_t r, int64_t c) const { return first + r * pitch + c; }
    std::vector<DType> values() const
    {
        std::vector<DType> found;
        for (int64_t r = 0; r < rows(); ++r) {
            found.insert(found.end(), at(r, 0), at(r, cols()));
        }
        return found;
    }
};

template <typename Pipe_, typename Tile_, TileSplitAxis Split>
void TPUSH(Pipe_ &pipe, Tile_ &tile, const Where &at = Where::current())
{
    using T = typename Tile_::DType;
    constexpr bool acc = Tile_::Loc == TileType::Acc;
    static_assert(Pipe_::to_vector ? acc : is_vec<Tile_>, "L0C is pushed to vector, UB to the cube");
    static_assert(Tile_::Bytes <= Pipe_::SlotBytes, "a tile that does not fit its slot");
    const uint32_t k = pipe.prod.tileIndex++;
    if (pipe.prod.isAllocate && Pipe_::shouldWaitFree(k)) {
        pipe.prod.allocate(at);
    }
    const SlotRows<Tile_, Split> gm{reinterpret_cast<T *>(pipe.slot(k, pipe.prod.entryOffset))};
    if (inside(gm, gm.rows(), gm.cols(), true, at)) {
        run(
            acc ? native::Pipe::FIX : native::Pipe::MTE3, {tile.extent()}, extents(gm, gm.rows(), gm.cols()),
            [tile, at] { return elements(tile, Tile_::Rows, Tile_::Cols, at); },
            [gm](const Values<T> &found) {
                for (int64_t r = 0, n = 0; r < gm.rows(); ++r) {
                    for (int64_t c = 0; c < gm.cols(); ++c, ++n) {
                        *gm.at(r, c) = rounded<T>(found[static_cast<size_t>(n)]);
                    }
                }
            },
            at);
    }
    if (pipe.prod.isRecord) {
        pipe.prod.record(at);
    }
}

template <typename Pipe_, typename Tile_, TileSplitAxis Split>
void TPOP(Pipe_ &pipe, Tile_ &tile, const Where &at = Where::current())
{
    using T = typename Tile_::DType;
    static_assert(Pipe_::to_vector ? is_vec<Tile_> : Tile_::Loc == TileType::Mat, "vector pops into UB, the cube into L1");
    if (pipe.cons.isWait) {
        pipe.cons.wait(at);
    }
    const uint32_t k = pipe.cons.tileIndex++;
    TASSIGN(tile, pipe.local_base + static_cast<int64_t>(k % Pipe_::LocalCount * Pipe_::SlotBytes), at);
    const SlotRows<Tile_, Split> gm{reinterpret_cast<T *>(pipe.slot(k, pipe.cons.entryOffset))};
    if (inside(gm, gm.rows(), gm.cols(), false, at)) {
        run(
            native::Pipe::MTE2, extents(gm, gm.rows(), gm.cols()), {tile.extent()},
            [gm] { return gm.values(); },
            [tile](const auto &found) { put(tile, Tile_::Rows, Tile_::Cols, found); }, at);
    }
    if (pipe.cons.isFree && Pipe_::shouldNotifyFree(k)) {
        pipe.cons.free(at);
    }
}

// The pop has said so already.
template <typename Pipe_, TileSplitAxis Split>
void TFREE(Pipe_ &)
{
}

}  // namespace pto
