// Bits of integers: combined, turned and shifted.  Of any size of element, for the device takes them as units of 16
// bits; shifts are of 16 and 32 bits, all by one number (docs/machine.md 12).
#pragma once

#include "native/ops.hpp"

namespace pto {

template <typename Tile_>
constexpr void check_bits()
{
    static_assert(is_vec<Tile_> && Tile_::RowMajor, "bits are combined on row-major tiles in UB");
    static_assert(std::is_integral_v<typename Tile_::DType>, "bits are those of integers");
}

// ``f`` of numbers as wide as the elements: what is beyond them is lost.
template <typename T, typename F>
auto of_width(F f)
{
    using U = std::make_unsigned_t<T>;
    return [f](auto a, auto b) { return static_cast<decltype(a)>(static_cast<T>(f(static_cast<U>(a), static_cast<U>(b)))); };
}

struct BitAnd {
    template <typename U> U operator()(U a, U b) const { return static_cast<U>(a & b); }
};
struct BitOr {
    template <typename U> U operator()(U a, U b) const { return static_cast<U>(a | b); }
};
struct BitXor {
    template <typename U> U operator()(U a, U b) const { return static_cast<U>(a ^ b); }
};

template <typename T>
auto same_number(T s)
{
    using W = native::wide_t<T>;
    return [value = static_cast<W>(s)] { return Grid<W>{{value}, 0, 0}; };
}

template <typename B>
auto all_of(const B &b, const Where &at)
{
    return [b, at] { return Grid<native::wide_t<typename B::DType>>{elements(b, at), b.valid_cols, 1}; };
}

template <typename D, typename A, typename B, typename F>
void bits_of_tiles(const D &d, const A &a, const B &b, F f, const Where &at)
{
    check_bits<D>();
    check_bits<B>();
    static_assert(std::is_same_v<typename D::DType, typename B::DType>, "operands of one type");
    same_valid(d, b, at);
    each(d, a, {b.extent()}, all_of(b, at), of_width<typename D::DType>(f), at);
}

// The device fills d with the number, then combines.
template <typename D, typename A, typename F>
void bits_of_number(const D &d, const A &a, typename D::DType s, F f, const Where &at)
{
    check_bits<D>();
    keeps_apart(d, a, "bits are not combined with a number in place", at);
    each(d, a, {}, same_number(s), of_width<typename D::DType>(f), at);
}

template <typename D, typename A, typename B>
void TAND(D &d, const A &a, const B &b, const Where &at = Where::current())
{
    bits_of_tiles(d, a, b, BitAnd{}, at);
}

template <typename D, typename A>
void TANDS(D &d, const A &a, typename D::DType s, const Where &at = Where::current())
{
    bits_of_number(d, a, s, BitAnd{}, at);
}

template <typename D, typename A, typename B>
void TOR(D &d, const A &a, const B &b, const Where &at = Where::current())
{
    bits_of_tiles(d, a, b, BitOr{}, at);
}

template <typename D, typename A>
void TORS(D &d, const A &a, typename D::DType s, const Where &at = Where::current())
{
    bits_of_number(d, a, s, BitOr{}, at);
}

// Of both kinds of second operand: one "or" and one "and", joined by way of the scratch tile.
template <typename D, typename A, typename Second, typename Tmp>
void exclusive(const D &d, const A &a, std::vector<Extent> reads, Second second, const Tmp &tmp, const Where &at)
{
    using T = typename D::DType;
    check_bits<D>();
    check_bits<A>();
    static_assert(std::is_same_v<T, typename A::DType> && std::is_same_v<T, typename Tmp::DType>, "one type");
    same_valid(d, a, at);
    same_valid(d, tmp, at);
    keeps_apart(d, a, "an exclusive or is not taken in place", at);
    reads.push_back(a.extent());
    run(
        Pipe::V, std::move(reads), {tmp.extent(), d.extent()},
        of_each(d, a, second, of_width<T>(BitXor{}), at),
        [d, tmp](const Values<T> &found) {
            spoil(tmp);
            put(d, d.valid_rows, d.valid_cols, found);
        },
        at);
}

template <typename D, typename A, typename B, typename Tmp>
void TXOR(D &d, const A &a, const B &b, const Tmp &tmp, const Where &at = Where::current())
{
    check_bits<B>();
    static_assert(std::is_same_v<typename D::DType, typename B::DType>, "operands of one type");
    same_valid(d, b, at);
    keeps_apart(d, b, "an exclusive or is not taken in place", at);
    exclusive(d, a, {b.extent()}, all_of(b, at), tmp, at);
}

template <typename D, typename A, typename Tmp>
void TXORS(D &d, const A &a, typename D::DType s, const Tmp &tmp, const Where &at = Where::current())
{
    exclusive(d, a, {}, same_number(s), tmp, at);
}

template <typename D, typename A>
void TNOT(D &d, const A &a, const Where &at = Where::current())
{
    check_bits<D>();
    const auto all = static_cast<typename D::DType>(-1);
    each(d, a, {}, same_number(all), of_width<typename D::DType>(BitXor{}), at);
}

template <typename D, typename A, typename F>
void shift(const D &d, const A &a, typename D::DType count, F f, const Where &at)
{
    using T = typename D::DType;
    check_bits<D>();
    static_assert(std::is_same_v<T, int32_t> || std::is_same_v<T, int16_t>, "shifts are of int32 or int16");
    if (count < 0 || count >= static_cast<T>(8 * sizeof(T))) {
        native::report("shape", "a shift by more bits than an element has", at);
        return;
    }
    each(d, a, {}, same_number(count), f, at);
}

template <typename D, typename A>
void TSHLS(D &d, const A &a, typename D::DType count, const Where &at = Where::current())
{
    shift(d, a, count, of_width<typename D::DType>([](auto x, auto n) { return static_cast<decltype(x)>(x << n); }), at);
}

// Of a number with a sign, which stays: rounded down.
template <typename D, typename A>
void TSHRS(D &d, const A &a, typename D::DType count, const Where &at = Where::current())
{
    shift(d, a, count, [](auto x, auto n) { return x >> n; }, at);
}

}  // namespace pto
