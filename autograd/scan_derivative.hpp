// The differentiated body of a scan, and what is kept for it. Internal to autograd.
#pragma once

#include <map>
#include <rewind/autograd/behind.hpp>
#include <rewind/autograd/scan_operator.hpp>

namespace rw::detail {

/// Of an x that is rows of a small table.
struct RowsOf {
  Index table_rows = 0;
  DType index = DType::i64;
  bool passes = false;  ///< as in Gathered
  auto operator<=>(const RowsOf&) const = default;
};

/// Which gradients come in and which are wanted: an entry a result, an entry an input of the scan.
struct Wish {
  List<char> incoming, wanted;
  List<std::pair<int, RowsOf>> rows;  ///< inputs of the scan that are rows
  bool again = false;                 ///< the body runs again in the backward pass; carries alone are kept
  bool in_chunks = false;             ///< the body is one loop in chunks: its sums go on from one to the next
  void of(const Node& scan) { again = scan.attributes[3] > 0, in_chunks = scan.attributes[3] == whole_loop; }
  auto operator<=>(const Wish&) const = default;
};

/// A differentiated body. Beside the inputs of the forward body, behind them and counted on, it may read the index of each of the xs that
/// are rows, then the table of each.
struct Derivative {
  std::shared_ptr<const Body> backward;
  std::vector<int> carries;                ///< which carries have gradients, in the order of the backward carries
  std::vector<int> captures;               ///< captures and tables whose gradients are accumulated, behind those
  std::vector<Type> sums;                  ///< what else is summed: the last backward carries
  std::vector<Behind> products;            ///< of these and of inputs, behind the loop
  std::vector<int> ys;                     ///< forward ys whose gradients are read: the first xs
  List<int> residuals;                     ///< values of the forward body that are read: the next xs
  std::shared_ptr<const Program> forward;  ///< the forward body with scans in it that have more ys now, if there are such
  std::vector<int> xs_read;                ///< forward xs and indices that are read: the last xs
  std::vector<int> constants;              ///< forward captures and tables that are read
  std::vector<int> xs;                     ///< forward xs whose gradients are the backward ys
  List<ValueRef> outside;                  ///< what rules of custom operations read beside these: the last constants
  Closures closures;                       ///< of the backward body
};

/// What is derived from a body.
struct Cache {
  std::map<Wish, std::shared_ptr<const Derivative>> derivatives;
  std::map<std::pair<const Program*, List<int>>, std::shared_ptr<const Body>> grown;  ///< with these values as further ys
};

inline Cache& cache_of(const Body& body) {
  if (!body.derivatives) body.derivatives = std::make_shared<Cache>();
  return *static_cast<Cache*>(body.derivatives.get());
}

/// One differentiation serves all scans of the body; closures may differ from call to call, so where there are some each has its own.
std::shared_ptr<const Derivative> derivative_of(const Body& body, const Closures& closures, const Wish& wish);

/// Adds ys to a scan that is recorded already: values of its body by number, or of `forward`, the body with scans in it that have grown.
/// Gives the result number of each.
List<int> add_ys(Node& node, const List<int>& body_values, const Program* forward);

}  // namespace rw::detail
