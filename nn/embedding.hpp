// A table of vectors, looked up by index.
#pragma once

#include <rewind/autograd/fields.hpp>

namespace rw::nn {

/// Row tokens[i] of a table: tokens of any shape S, i32 or i64 -> [S, E]. The table begins with N(0, 1), so that what a recurrent layer
/// sees at first has unit variance; a table that is also the weight of the head wants less, about init::normal(0, 1 / sqrt(E)).
struct Embedding {
  Parameter weight;  ///< [V,E]

  /// Throws ValueError unless both extents are at least 1.
  Embedding(Index vocabulary, Index width, Initializer initializer = init::normal(0, 1));
  /// Throws DTypeError for tokens that are no integers; ValueError, when it runs, for one outside 0 .. V-1.
  Variable operator()(const Variable& tokens) const;
  REWIND_FIELDS(weight)
};

}  // namespace rw::nn
