// The driver of recurrent layers: any cell, many layers, both directions, dropout between layers, carried state.
//
// A cell is a class with
//   State                                    a struct of Variables (a Variable alone will do): what is carried from step to step
//   Cell(Index inputs, Index hidden)         or, with a type Options, Cell(Index inputs, Index hidden, Options)
//   State operator()(const Variable& x, const State& s) const     one step: x [B,I]
//   REWIND_FIELDS(...)                       its parameters
// and, if it likes,
//   State initial(Index batch) const         what an empty State stands for; otherwise zeros [B,H] for each Variable
//   Variable output(const State& s) const    what the layer above sees, [B,H]; otherwise the first Variable of the State
#pragma once

#include <rewind/autograd/fields.hpp>
#include <rewind/autograd/ops.hpp>
#include <rewind/autograd/scan.hpp>
#include <rewind/nn/dropout.hpp>
#include <span>

namespace rw::nn {

/// The options of a cell that has none.
struct NoOptions {};

template <class CellOptions>
struct RecurrentOptions {
  Index layers = 1;
  bool bidirectional = false;  ///< a second cell a layer runs from the end; outputs are joined: [.., 2H]
  double dropout = 0;          ///< on what each layer but the last gives
  CellOptions cell = {};
  Checkpoint checkpoint = {};  ///< which carries are kept for the gradient
};

/// The states of all cells: layer by layer, the forward cell first. Empty means "start here".
template <class CellState>
struct RecurrentState {
  std::vector<CellState, Recycled<CellState>> cells;
};

namespace detail {

template <class Cell>
struct OptionsOf {
  using type = NoOptions;
};
template <class Cell>
requires requires { typename Cell::Options; }
struct OptionsOf<Cell> {
  using type = typename Cell::Options;
};

/// The first rule that a class breaks as a cell, numbered as in the static_asserts below; 0 for a cell.
template <class Cell>
consteval int broken_rule() {
  using Options = typename OptionsOf<Cell>::type;
  if constexpr (!requires { typename Cell::State; }) {
    return 1;
  } else if constexpr (!VariableStruct<typename Cell::State>) {
    return 2;
  } else if constexpr (!std::is_constructible_v<Cell, Index, Index> && !std::is_constructible_v<Cell, Index, Index, const Options&>) {
    return 3;
  } else if constexpr (!std::is_invocable_r_v<typename Cell::State, const Cell&, const Variable&, const typename Cell::State&>) {
    return 4;
  } else if constexpr (!Module<Cell>) {
    return 5;
  } else if constexpr (
      requires { &Cell::initial; } && !requires(const Cell& cell, typename Cell::State s, Index b) { s = cell.initial(b); }) {
    return 6;
  } else if constexpr (
      requires { &Cell::output; } && !requires(const Cell& cell, const typename Cell::State& s, Variable y) { y = cell.output(s); }) {
    return 7;
  } else if constexpr (!requires { &Cell::output; } && std::is_empty_v<typename Cell::State>) {
    return 8;
  } else {
    return std::is_copy_constructible_v<Cell> && std::is_nothrow_move_constructible_v<Cell> ? 0 : 9;
  }
}

template <class Cell>
Cell make_cell(Index inputs, Index hidden, const typename OptionsOf<Cell>::type& options) {
  if constexpr (std::is_constructible_v<Cell, Index, Index, decltype(options)>)
    return Cell(inputs, hidden, options);
  else
    return Cell(inputs, hidden);
}
template <class Cell>
typename Cell::State initial(const Cell& cell, Index batch, Index hidden, DType dtype) {
  if constexpr (requires { cell.initial(batch); })
    return cell.initial(batch);
  else
    return map_struct(typename Cell::State{}, [&](const Variable&) { return zeros({batch, hidden}, dtype); });
}
/// Throws ValueError if there is none.
Variable first_of(std::span<const Variable> state);
template <class Cell>
Variable output(const Cell& cell, const typename Cell::State& state) {
  if constexpr (requires { cell.output(state); }) {
    return cell.output(state);
  } else {
    rw::detail::List<Variable> all;
    flatten(state, all);
    return first_of(all);
  }
}

void check_network(std::string_view cell, Index inputs, Index hidden, Index layers);
/// x [T,B,I] and the number of carried states. Throws ShapeError, ValueError.
void check_sequence(std::string_view cell, const Variable& x, Index inputs, std::size_t cells, std::size_t states);
void check_layer(std::string_view cell, Index layer, Index layers, bool other_direction);
[[noreturn]] void no_state(std::string_view cell, std::size_t cells, std::size_t states);

}  // namespace detail

/// A stack of recurrent layers. x [T,B,I] -> y [T,B,H], or [T,B,2H] in both directions, and the last state. Zero steps give the state back.
/// Parameters are named "0.wx" in layer 0, "0.reverse.wx" for its second direction.
template <class Cell>
class Recurrent {
 public:
  using Options = RecurrentOptions<typename detail::OptionsOf<Cell>::type>;
  using State = RecurrentState<typename Cell::State>;

  /// Throws ValueError unless inputs, hidden and layers are at least 1 and 0 <= dropout < 1.
  Recurrent(Index inputs, Index hidden, const Options& options = {})
      : dropout_(options.dropout),
        checkpoint_(options.checkpoint),
        inputs_(inputs),
        hidden_(hidden),
        directions_(options.bidirectional ? 2 : 1) {
    detail::check_network(name(), inputs, hidden, options.layers);
    for (Index l = 0; l < options.layers; ++l)
      for (Index d = 0; d < directions_; ++d)
        cells_.push_back(detail::make_cell<Cell>(l == 0 ? inputs : hidden * directions_, hidden, options.cell));
  }

  /// Runs over x from `start`. Throws ShapeError unless x is [T,B,I]; ValueError if start is another network's.
  std::pair<Variable, State> operator()(const Variable& x, const State& start = {}) const {
    detail::check_sequence(name(), x, inputs_, cells_.size(), start.cells.size());
    State last;
    Variable y = x;
    for (std::size_t i = 0; i < cells_.size(); i += static_cast<std::size_t>(directions_)) {
      if (i > 0) y = dropout_(y);
      Variable forward = run(i, y, start, false, last);
      y = directions_ == 1 ? forward : concatenate({forward, run(i + 1, y, start, true, last)});
    }
    return {y, last};
  }

  /// What the top layer gave at the end of the sequence, directions joined: [B,H] or [B,2H]. Throws ValueError for an empty state.
  Variable output(const State& state) const {
    if (state.cells.size() != cells_.size()) detail::no_state(name(), cells_.size(), state.cells.size());
    std::size_t top = cells_.size() - static_cast<std::size_t>(directions_);
    Variable forward = detail::output(cells_[top], state.cells[top]);
    return directions_ == 1 ? forward : concatenate({forward, detail::output(cells_[top + 1], state.cells[top + 1])});
  }

  Index inputs() const { return inputs_; }
  Index hidden() const { return hidden_; }
  Index layers() const { return static_cast<Index>(cells_.size()) / directions_; }
  bool bidirectional() const { return directions_ == 2; }
  double dropout() const { return dropout_.rate; }
  /// The cell of a layer, from 0, and direction. Throws ValueError if there is none.
  Cell& cell(Index layer, bool reverse = false) {
    detail::check_layer(name(), layer, layers(), reverse && directions_ == 1);
    return cells_[static_cast<std::size_t>(layer * directions_ + (reverse ? 1 : 0))];
  }
  const Cell& cell(Index layer, bool reverse = false) const { return const_cast<Recurrent&>(*this).cell(layer, reverse); }

  void rewind_fields(Fields& walk) const {
    for (std::size_t i = 0; i < cells_.size(); ++i) {
      auto layer = std::to_string(i / static_cast<std::size_t>(directions_));
      walk.member(directions_ == 2 && i % 2 == 1 ? layer + ".reverse" : layer, cells_[i]);
    }
  }

 private:
  using CellState = typename Cell::State;
  static std::string_view name() { return rw::detail::type_name(rw::detail::type_spelling<Cell>()); }

  Variable run(std::size_t i, const Variable& x, const State& start, bool reverse, State& last) const {
    const Cell& cell = cells_[i];
    bool given = !start.cells.empty() && !every_empty(start.cells[i]);
    CellState carry = given ? start.cells[i] : detail::initial(cell, x.shape()[1], hidden_, x.dtype());
    auto step = [&](const CellState& s, const Variable& x_t) {
      CellState next = cell(x_t, s);
      Variable y = detail::output(cell, next);
      return std::pair{std::move(next), std::move(y)};
    };
    auto [end, y] = scan(step, carry, x, {.reverse = reverse, .checkpoint = checkpoint_});
    last.cells.push_back(std::move(end));
    return y;
  }

  std::vector<Cell> cells_;
  Dropout dropout_;
  Checkpoint checkpoint_;
  Index inputs_, hidden_, directions_;
};

/// What stands for Recurrent of a class that is no cell: it says why, once, and is quiet otherwise.
template <class Cell>
requires(detail::broken_rule<Cell>() != 0) class Recurrent<Cell> {
  static constexpr int broken = detail::broken_rule<Cell>();
  static_assert(broken != 1, "Recurrent<Cell>: the cell has no type State (struct State { Variable h; }; or using State = Variable;)");
  static_assert(
      broken != 2,
      "Recurrent<Cell>: Cell::State must be a struct of Variables: a plain struct of up to eight fields, each a Variable, such a struct, "
      "or a std::vector, std::array, std::pair of them");
  static_assert(broken != 3,
                "Recurrent<Cell>: the cell cannot be made from (Index inputs, Index hidden), nor with its Options as a third argument");
  static_assert(broken != 4, "Recurrent<Cell>: the cell needs State operator()(const Variable& x, const State& s) const");
  static_assert(broken != 5, "Recurrent<Cell>: the cell does not list its parameters: REWIND_FIELDS(wx, wh, b)");
  static_assert(broken != 6, "Recurrent<Cell>: the cell's initial must be State initial(Index batch) const");
  static_assert(broken != 7, "Recurrent<Cell>: the cell's output must be Variable output(const State& s) const");
  static_assert(broken != 8, "Recurrent<Cell>: the cell's State is empty, so it needs Variable output(const State& s) const");
  static_assert(broken != 9,
                "Recurrent<Cell>: the cell cannot be copied and moved without exceptions: do not declare copy or move operations");

 public:
  using Options = RecurrentOptions<NoOptions>;
  using State = RecurrentState<Variable>;
  Recurrent(Index, Index, const Options& = {}) {}
  std::pair<Variable, State> operator()(const Variable&, const State& = {}) const { return {}; }
  Variable output(const State&) const { return {}; }
  REWIND_FIELDS()
};

}  // namespace rw::nn
