// A fused region in a plan: its body becomes a program of the tile machine.
#include <algorithm>
#include <map>
#include <rewind/autograd/elementwise.hpp>
#include <rewind/autograd/plan.hpp>
#include <rewind/autograd/reference.hpp>
#include <rewind/core/kernels.hpp>
#include <rewind/core/tile.hpp>

namespace rw::detail {

namespace {

/// Where a random stream of a region starts: at step 0, and elements a step and a row.
struct Stream {
  int operand;
  Index first, step, row;
};

class RegionStep final : public Step {
 public:
  RegionStep(const TileProgram& program, const Shape& space, std::vector<Slot> slots, std::vector<TileOperand> operands,
             std::vector<Stream> streams)
      : tile_(program, space, std::move(operands)), slots_(std::move(slots)), streams_(std::move(streams)) {
    for (int a = 0; a + 1 < space.rank(); ++a) rows_ *= space[a];
    for (const auto& s : slots_) offsets_.push_back({s.buffer, s.offset * size_of(s.type.dtype)});
    for (std::size_t i = 0; i < slots_.size(); ++i)
      if (!slots_[i].dynamic.empty()) dynamic_.push_back(i);
  }

  void run(const Frame& frame) const override {
    thread_local std::vector<TilePlace> places;
    places.resize(offsets_.size());
    for (std::size_t i = 0; i < offsets_.size(); ++i) places[i].data = frame.base[offsets_[i].buffer] + offsets_[i].bytes;
    for (std::size_t i : dynamic_) places[i].data = slots_[i].address(frame);
    for (const auto& s : streams_)
      places[static_cast<std::size_t>(s.operand)].counter =
          frame.step * static_cast<std::uint64_t>(s.step) + static_cast<std::uint64_t>(s.first + frame.row * s.row);
    if (frame.split) {
      tile_.run(places.data(), true);
    } else {
      tile_.run(places.data(), 0, rows_);
    }
  }

 private:
  struct Offset {
    int buffer;
    Index bytes;
  };
  Tile tile_;
  Index rows_ = 1;
  std::vector<Offset> offsets_;  ///< of slots, which are larger
  std::vector<Slot> slots_;
  std::vector<std::size_t> dynamic_;  ///< slots that begin elsewhere from run to run
  std::vector<Stream> streams_;
};

/// Turns one region into a tile program.
class Builder {
 public:
  Builder(Lowering& l, const Instruction& region) : l_(l), region_(region), body_(region.body->program), values_(body_.types.size(), -1) {
    narrow_.resize(body_.types.size());
    choose_space();
  }

  void build() {
    for (std::size_t i = 0; i < body_.inputs.size(); ++i) input_[body_.inputs[i]] = static_cast<int>(i);
    for (const auto& c : body_.code)
      if (!sums_rows(*c.op)) translate(c);
    std::vector<std::pair<int, Slot>> totals;
    const auto made = producers(body_);
    for (std::size_t o = 0; o < body_.outputs.size(); ++o) {
      int v = body_.outputs[o];
      if (const auto& c = body_.code[made[v]]; sums_rows(*c.op)) {
        totals.emplace_back(region_.first + static_cast<int>(o), add_total(c, region_.first + static_cast<int>(o)));
        continue;
      }
      Slot to = l_.result(region_.first + static_cast<int>(o));
      add({.kind = TileProgram::Kind::store, .narrow = narrow_[v] != 0, .a = values_[v], .operand = operand(to, narrow_[v] != 0)});
      if (!narrow_[v]) offer_place(operands_.size() - 1);
    }
    if (backward_) turn();
    l_.emit(std::make_unique<RegionStep>(program_, space_, slots_, operands_, streams_), slots_);
    for (const auto& [value, slot] : totals) l_.finish(value, slot);
  }

 private:
  static bool is_reduction(const Instruction& c) { return c.op == &reduce_operator; }

  /// A sum over steps and rows goes on from its first value, or from 0, in its place.
  Slot add_total(const Instruction& c, int value) {
    Slot to;
    const bool groups = c.op == &sum_groups_operator;
    backward_ |= c.attributes[groups ? 2 : 0] != 0;
    if (c.inputs.size() > 1) {
      to = l_.continued(value, region_.inputs[input_.at(c.inputs[1])]);
    } else {
      to = l_.dense_result(value);
      l_.emit({to}, [to](const Frame& f) { fill(to.view(f), 0); });
    }
    Slot first = to;
    first.type.shape = Shape{space_.back()}, first.strides = contiguous_strides(first.shape());
    add({.kind = TileProgram::Kind::total,
         .a = read(c.inputs[0], false),
         .operand = operand(first, false),
         .group = groups ? c.attributes[0] : 0});
    if (groups) operands_.back().rows = to.shape()[0], operands_.back().across = space_.back();
    return to;
  }

  /// Steps, axis 0, run from the last to the first.
  void turn() {
    for (std::size_t o = 0; o < slots_.size(); ++o) {
      slots_[o].offset += (space_[0] - 1) * operands_[o].strides[0];
      operands_[o].strides[0] = -operands_[o].strides[0];
    }
  }

  void choose_space() {
    program_.dtype = DType::f32;
    bool any = false;
    for (const auto& c : body_.code) {
      Shape s = is_reduction(c) || sums_rows(*c.op) ? body_.types[c.inputs[0]].shape : body_.types[c.first].shape;
      if (!any || (s.rank() && s.back() != 1)) space_ = s;
      any = true;
      int code = elementwise_code(*c.op);
      DType dtype = body_.types[c.first].dtype;
      if (code >= 0) {
        std::vector<const Type*> types;
        for (int v : c.inputs) types.push_back(&body_.types[v]);
        DType of = operand_dtype(static_cast<op::Code>(code), types);
        if (!is_floating(dtype)) dtype = of == DType::boolean ? DType::boolean : is_floating(of) ? of : DType::f64;
        if (of == DType::i32 || of == DType::i64) dtype = code == op::code<op::Where> && is_floating(dtype) ? dtype : DType::f64;
      }
      if (dtype == DType::f64) program_.dtype = DType::f64;
    }
    if (space_.rank() == 0) space_ = Shape{1};
  }

  int add(TileProgram::Instruction instruction) {
    program_.code.push_back(instruction);
    return static_cast<int>(program_.code.size()) - 1;
  }

  /// A memory operand: a slot seen as the space, or as one element a row of it.
  int operand(const Slot& slot, bool narrow) {
    Shape seen = space_;
    if (narrow) seen[seen.rank() - 1] = 1;
    Strides strides = broadcast_strides(slot.shape(), slot.strides, seen);
    TileOperand o;
    for (int a = 0; a < seen.rank(); ++a) o.strides[a] = strides[a];
    if (narrow) o.strides[seen.rank() - 1] = 0;
    program_.operands.push_back(slot.type.dtype);
    slots_.push_back(slot);
    operands_.push_back(o);
    return static_cast<int>(slots_.size()) - 1;
  }

  /// A full result may be written over an operand that is read at the same points and nowhere else.
  void offer_place(std::size_t result) const {
    auto same = [&](const TileOperand& a, const TileOperand& b) { return std::equal(a.strides, a.strides + space_.rank(), b.strides); };
    for (const auto& [read, load] : loads_) {
      if (load < 0 || read.second) continue;
      const auto o = static_cast<std::size_t>(program_.code[static_cast<std::size_t>(load)].operand);
      const int buffer = slots_[o].buffer;
      const auto readers = std::count_if(slots_.begin(), slots_.end(), [&](const Slot& s) { return s.buffer == buffer; });
      if (readers == 1 && slots_[o].type.dtype == slots_[result].type.dtype && same(operands_[o], operands_[result]) &&
          l_.may_overwrite(slots_[result], slots_[o]))
        return;
    }
  }

  bool full_width(const Shape& s) const { return s.rank() > 0 && s.back() == space_.back() && space_.back() != 1; }

  /// The tile value behind a value of the body, loaded if it comes from outside; `narrow` if the reader makes one element a row.
  int read(int v, bool narrow) {
    auto in = input_.find(v);
    if (in == input_.end()) return values_[v];
    const Shape& s = body_.types[v].shape;
    bool as_narrow = narrow || (space_.back() != 1 && !full_width(s) && s.size() != 1);
    auto [loaded, fresh] = loads_.try_emplace({v, as_narrow}, -1);
    if (fresh)
      loaded->second =
          add({.kind = TileProgram::Kind::load, .narrow = as_narrow, .operand = operand(l_.slot(region_.inputs[in->second]), as_narrow)});
    return loaded->second;
  }

  void translate(const Instruction& c) {
    const Type& type = body_.types[c.first];
    TileProgram::Instruction t;
    bool narrow = is_reduction(c) || (space_.back() != 1 && !full_width(type.shape));
    t.narrow = narrow;
    int code = elementwise_code(*c.op);
    if (code >= 0) {
      t.kind = TileProgram::Kind::apply;
      t.code = static_cast<op::Code>(code);
      int* operand_values[] = {&t.a, &t.b, &t.c};
      for (std::size_t k = 0; k < c.inputs.size(); ++k) *operand_values[k] = read(c.inputs[k], narrow);
    } else if (is_reduction(c)) {
      constexpr TileProgram::Kind kinds[] = {TileProgram::Kind::sum, TileProgram::Kind::max, TileProgram::Kind::min};
      t.kind = kinds[c.attributes[0]];
      t.a = read(c.inputs[0], false);
    } else if (c.op == &random_operator) {
      t.kind = c.attributes[0] ? TileProgram::Kind::normal : TileProgram::Kind::uniform;
      Slot key = l_.slot(region_.inputs[input_.at(c.inputs[0])]);
      t.operand = static_cast<int>(slots_.size());
      program_.operands.push_back(DType::i64);
      slots_.push_back(key);
      TileOperand o;
      Shape seen = space_;
      if (narrow) seen[seen.rank() - 1] = 1;
      Strides strides = broadcast_strides(type.shape, contiguous_strides(type.shape), seen);
      for (int a = 0; a < seen.rank(); ++a) o.strides[a] = strides[a];
      operands_.push_back(o);
      Index rows = type.shape.rank() ? type.shape[0] : 1;
      streams_.push_back({t.operand, c.attributes[2], c.attributes[1], rows ? type.shape.size() / rows : 0});
    } else {
      t.kind = TileProgram::Kind::column;
    }
    values_[c.first] = add(t);
    narrow_[c.first] = narrow;
  }

  Lowering& l_;
  const Instruction& region_;
  const Program& body_;
  TileProgram program_;
  Shape space_;
  bool backward_ = false;                      ///< in time
  std::map<int, int> input_;                   ///< value of the body -> which input
  std::map<std::pair<int, bool>, int> loads_;  ///< what was loaded already
  std::vector<int> values_;                    ///< value of the body -> tile value
  std::vector<char> narrow_;
  std::vector<Slot> slots_;
  std::vector<TileOperand> operands_;
  std::vector<Stream> streams_;
};

class RegionOperator final : public Operator {
 public:
  constexpr RegionOperator() : Operator("region") {}
  void interpret(const Program&, const Instruction& i, std::span<const Array* const> in, std::span<Array> out,
                 const InterpretContext& context) const override {
    std::vector<Array> inputs;
    for (const Array* a : in) inputs.push_back(*a);
    auto results = detail::interpret(i.body->program, std::move(inputs), context);
    for (std::size_t k = 0; k < out.size(); ++k) out[k] = std::move(results[k]);
  }
  void lower(Lowering& l, const Instruction& i) const override { Builder(l, i).build(); }
};

constexpr RegionOperator region_object;

}  // namespace

const Operator& region_operator = region_object;

}  // namespace rw::detail
