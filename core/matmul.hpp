// The matrix product: packed panels, one microkernel per instruction set.
//
// An element of a product is one chain of fused multiply-adds over k in order, continuing from C where it accumulates. So the bits
// depend neither on threads (which split M and N, never K), nor on the tile an element falls into, nor on packing.
#pragma once

#include <rewind/core/tensor.hpp>
#include <span>

namespace rw {

/// A matrix as it lies: element (i, j) at data[i * row + j * column], in elements.
struct Matrix {
  const void* data = nullptr;
  Index row = 0, column = 1;
};

/// A right operand B [K,N] in panels, ready for many products. Throws DTypeError unless f32 or f64.
class PackedMatrix {
 public:
  PackedMatrix(DType dtype, Index k, Index n, Matrix b);
  DType dtype() const { return dtype_; }
  Index k() const { return k_; }
  Index n() const { return n_; }
  /// Panel after panel of as many columns as the kernel's tile has, each [K, columns], the last padded with zeros.
  const void* panels() const { return panels_->data(); }
  /// Packs other values of the same shape into the same memory.
  void refill(Matrix b);

 private:
  DType dtype_;
  Index k_, n_;
  StorageRef panels_;
};

/// The packed form of the matrix that lies in `storage` at byte `offset`: packed at the first call, kept while neither the storage
/// nor its version changes. The storage carries one for each distinct place, shape and strides; a call after a change of version packs
/// into the memory of the older form of the same place and drops all other older ones, so what was returned for an older version must no
/// longer be in use. Safe to call from several threads. Throws DTypeError unless f32 or f64.
const PackedMatrix& packed(Storage& storage, Index offset, DType dtype, Index k, Index n, Index row, Index column);
/// The same for `runs` products of `rows` rows each, or null while it costs less to read the matrix as it lies: runs are counted since the
/// last change of version, and the call packs whose runs, with those before, pay for it. The bits are the same either way.
const PackedMatrix* packed_if_worth(Storage& storage, Index offset, DType dtype, Index k, Index n, Index row, Index column, Index rows,
                                    Index runs);
/// Products of `rows` rows each from which on packing B first costs less than reading it as it lies, with this column stride.
Index runs_worth_packing(Index rows, Index column);

/// Memory that is touched soon after a product, which fetches it to L2 meanwhile: so many rows of `bytes` bytes, `stride` bytes apart.
struct Ahead {
  const void* data;
  Index rows, bytes, stride;
};

/// C [M,N] = A [M,K] B [K,N], or C += with `accumulate`. C has row stride `c_row` and unit column stride, and shares no memory with A
/// or B; strides of A and B may be any, 0 and negative too. K = 0 gives zeros (or leaves C). `split` lets a product that is
/// worth it spread over the team. Allocates nothing after the first calls of a thread. Throws DTypeError unless f32 or f64.
///
/// A packed product of more rows than a tile fetches `ahead`, as much as it has time for, if one thread does it.
///
/// AVX2 and AVX-512 fuse multiply and add and agree to the bit; SSE2 rounds in between.
void matmul(DType dtype, Index m, Index n, Index k, Matrix a, Matrix b, void* c, Index c_row, bool accumulate, bool split);
void matmul(Index m, Matrix a, const PackedMatrix& b, void* c, Index c_row, bool accumulate, bool split, std::span<const Ahead> ahead = {});

/// Whether a product takes long enough, some 5 microseconds, for the team to help.
bool worth_splitting(Index m, Index n, Index k);
/// Rows below which a product that reads so many bytes of packed right operand again and again waits for them: by whether they stay in L2,
/// or in L3.
Index rows_for_weights(Index bytes);

/// C [M,N] (+)= sum over s = 0 .. steps-1 of A_s^T B_s with A_s [R,M] at a + s * a_step and B_s [R,N] at b + s * b_step (elements,
/// negative runs backward; rows of unit stride): the chain runs over s, then over the rows r, as if the steps were stacked into one
/// product. It is how gradients of weights are summed over time. Otherwise like matmul. Where `sums` [N] are given, they (+)= the rows of
/// all B_s, the same chain that sum_steps makes, while these are at hand: so the gradient of a bias costs no pass of its own.
void matmul_steps(DType dtype, Index m, Index n, Index rows, Index steps, const void* a, Index a_row, Index a_step, const void* b,
                  Index b_row, Index b_step, void* c, Index c_row, bool accumulate, bool split, void* sums = nullptr);

/// Floating-point operations a second that independent fused multiply-adds of the widest vectors reach, best of some bursts, on
/// `threads` threads at once (SSE2: of multiplies and adds): what products are compared with. Takes bursts * seconds. Throws DTypeError
/// unless f32 or f64, ValueError unless threads and bursts are 1 or more and seconds is positive.
double peak_flops(DType dtype, int threads, int bursts = 20, double seconds = 0.05);

}  // namespace rw
