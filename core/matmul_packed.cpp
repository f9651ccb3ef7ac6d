// Packed right operands, and the list of them that a storage carries.
#include <algorithm>
#include <mutex>
#include <optional>
#include <rewind/core/format.hpp>
#include <rewind/core/matmul_kernels.hpp>
#include <rewind/core/recycle.hpp>
#include <rewind/core/team.hpp>

namespace rw {
namespace {

constexpr Index least_to_split = 1 << 14;  // elements: some 5 microseconds

template <class T>
void fill(T* panels, Index k, Index n, Matrix b) {
  const auto& kernels = detail::product_table(isa()).of<T>();
  const detail::GroupedMatrix<T> from{static_cast<const T*>(b.data), b.row, b.column, k, 0};
  const int parts = k * n >= least_to_split ? threads() : 1;
  const Index width = kernels.columns;
  constexpr Index rows = 16;  // a line of a transposed matrix
  if (k >= rows * parts) {    // evenly, where panels may be few: 128 columns are three
    parallel(parts, k, rows, [&](Index begin, Index end) {
      detail::fill_panels(kernels, from, begin, end - begin, 0, n, panels + begin * width, width * k);
    });
  } else {
    parallel(parts, n, width,
             [&](Index begin, Index end) { detail::fill_panels(kernels, from, 0, k, begin, end - begin, panels + begin * k, width * k); });
  }
}

void fill(DType dtype, Index k, Index n, Matrix b, void* panels) {
  if (k == 0 || n == 0) return;
  if (dtype == DType::f32)
    fill(static_cast<float*>(panels), k, n, b);
  else
    fill(static_cast<double*>(panels), k, n, b);
}

Index panel_bytes(DType dtype, Index k, Index n) {
  if (!is_floating(dtype)) fail<DTypeError>("PackedMatrix: dtype must be f32 or f64: got {} (cast the operands)", dtype);
  const auto& table = detail::product_table(isa());
  return size_of(dtype) * (dtype == DType::f32 ? detail::panel_elements(table.f32, k, n) : detail::panel_elements(table.f64, k, n));
}

/// What was packed: where it lies and how.
struct Key {
  DType dtype;
  Index offset, k, n, row, column;
  bool operator==(const Key&) const = default;
};

struct Entry : Storage::Derived, detail::RecycledObject {
  Entry(const Key& k, std::uint64_t v) : key(k), version(v) {}
  const Key key;
  std::uint64_t version;
  Index runs = 0;                      ///< of products with this version before it was packed
  bool filled = false;                 ///< matrix holds this version
  std::optional<PackedMatrix> matrix;  ///< none before the first packing

  const PackedMatrix& fill(Matrix b) {
    if (!matrix)
      matrix.emplace(key.dtype, key.k, key.n, b);
    else if (!filled)
      matrix->refill(b);
    filled = true;
    return *matrix;
  }
};

/// One of a few locks, by address: storages are many, packs are short.
std::mutex& lock_of(const Storage& storage) {
  static std::mutex locks[16];
  return locks[reinterpret_cast<std::uintptr_t>(&storage) / sizeof(Storage) % 16];
}

/// Takes what an older version left out of the list, but for the entry of `keep`.
void drop_old(Storage& storage, std::uint64_t version, const Key& keep) {
  Storage::Derived* previous = nullptr;
  for (auto* at = storage.derived.load(std::memory_order_relaxed); at;) {
    auto* entry = static_cast<Entry*>(at);
    auto* next = at->next;
    if (entry->version == version || entry->key == keep) {
      previous = at;
    } else {
      if (previous)
        previous->next = next;
      else
        storage.derived.store(next, std::memory_order_release);
      delete entry;
    }
    at = next;
  }
}

/// The entry of this key and the current version of the storage.
Entry& entry_of(Storage& storage, const Key& key) {
  const std::uint64_t version = storage.version();
  for (auto* at = storage.derived.load(std::memory_order_acquire); at; at = at->next) {
    auto* entry = static_cast<Entry*>(at);
    if (!(entry->key == key)) continue;
    if (entry->version != version) {
      drop_old(storage, version, key);
      entry->version = version;
      entry->runs = 0;
      entry->filled = false;
    }
    return *entry;
  }
  drop_old(storage, version, key);
  auto* entry = new Entry(key, version);
  entry->next = storage.derived.load(std::memory_order_relaxed);
  storage.derived.store(entry, std::memory_order_release);
  return *entry;
}

}  // namespace

PackedMatrix::PackedMatrix(DType dtype, Index k, Index n, Matrix b)
    : dtype_(dtype), k_(k), n_(n), panels_(StorageRef::allocate(panel_bytes(dtype, k, n))) {
  refill(b);
}

void PackedMatrix::refill(Matrix b) { fill(dtype_, k_, n_, b, panels_->data()); }

const PackedMatrix& packed(Storage& storage, Index offset, DType dtype, Index k, Index n, Index row, Index column) {
  const std::lock_guard guard(lock_of(storage));
  return entry_of(storage, {dtype, offset, k, n, row, column}).fill({storage.data() + offset, row, column});
}

const PackedMatrix* packed_if_worth(Storage& storage, Index offset, DType dtype, Index k, Index n, Index row, Index column, Index rows,
                                    Index runs) {
  const std::lock_guard guard(lock_of(storage));
  Entry& entry = entry_of(storage, {dtype, offset, k, n, row, column});
  if (!entry.filled && (entry.runs += runs) < runs_worth_packing(rows, column)) return nullptr;
  return &entry.fill({storage.data() + offset, row, column});
}

Index runs_worth_packing(Index rows, Index column) {
  constexpr Index many_rows = 512;  // beyond them a part of B is packed for some of the rows and then again for others
  if (rows >= many_rows) return 1;
  const bool in_place = rows <= detail::product_table(isa()).f32.rows && column == 1;
  return in_place ? 8 : 2;  // those that do not read B in place pack what they need each time
}

}  // namespace rw
