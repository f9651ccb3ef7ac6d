// The inside of a Parameter, for the engine: the place that optimizers, lists and modules share.
#pragma once

#include <atomic>
#include <rewind/autograd/variable.hpp>
#include <span>

namespace rw::detail {

/// A value to be trained and its gradient. Made by the first Parameter that owns it; freed with the last reference.
struct Place {
  Variable value;                              ///< a leaf that knows this place (attach)
  Variable gradient;                           ///< empty if there is none
  bool frozen = false;                         ///< gets no gradient, optimizers skip it
  bool listed = false;                         ///< some list of fields has named it
  std::atomic<int> references{0};              ///< PlaceRefs
  std::atomic<int> owners{0};                  ///< Parameters
  Place *previous = nullptr, *next = nullptr;  ///< the thread's places that no list names yet
  const void* thread = nullptr;                ///< the thread that made it
};

/// Marks the leaf's value as trainable: backward finds `place` through it. The leaf does not own the place; a place that lets go of its
/// leaf says attach(leaf, nullptr). Implemented by the tape.
void attach(const Variable& leaf, Place* place);

/// A new place without owners that holds `value`.
Place* make_place(const Tensor& value);
/// Gives a place a new leaf.
void rebind(Place* place, Variable leaf) noexcept;
/// Computes the results. results[i] is written over *old[i], a variable of the same type, whose value is lost then, if nobody but this
/// variable and the computation holds that value or its memory, if what reads it is done before, and if the computation cannot fail on its
/// data. Memory that runs out on the way may lose it too.
void evaluate_over(std::span<const Variable> results, std::span<const Variable* const> old);
/// A list of fields names this place.
void list_place(Place* place);
/// A place made by this thread that has a gradient and that no list of fields names; nullptr if there is none.
Place* unlisted_place_with_gradient();

}  // namespace rw::detail
