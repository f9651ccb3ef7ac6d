// Checkpoints: all that a training needs to go on bit for bit, in one safetensors file, written atomically.
//
//   train::save("run/last", model, adam, stream, state);
//   train::load("run/last", model, adam, stream, state);      // later, into objects made the same way
//
// A piece is a module (weights: "model.lstm.0.wh"), an optimizer (slots: "optimizer.lstm.0.wh.m", and its number of steps), a Stream (its
// position), a struct of Variables ("state.cells.0.h") or a Notes (words and numbers of the program's own, in the file's metadata). The
// generator of this thread is always among them ("random"). A second piece of a kind is named "model2", and so on.
#pragma once

#include <map>
#include <rewind/autograd/fields.hpp>
#include <rewind/autograd/structs.hpp>
#include <rewind/core/safetensors.hpp>
#include <rewind/optim/optimizer.hpp>
#include <rewind/train/stream.hpp>

namespace rw::train {

/// What a program keeps beside tensors: words by name. Loading gives back all that was saved.
using Notes = std::map<std::string, std::string>;

/// The tensors and words of a checkpoint.
class Checkpoint {
 public:
  Checkpoint() = default;
  /// Throws IoError if the file cannot be read or is damaged.
  static Checkpoint read(const std::string& path);
  void write(const std::string& path) const;

  void put(const std::string& name, const Tensor& value) { tensors_[name] = value; }
  void put(const std::string& name, const std::string& word) { words_[name] = word; }
  bool has(const std::string& name) const { return tensors_.contains(name); }
  /// Whether a tensor's name begins with `prefix` and a dot.
  bool has_below(const std::string& prefix) const;
  /// Throws IoError naming file and tensor if it is not there.
  const Tensor& tensor(const std::string& name) const;
  /// Tensors whose names begin with `prefix` and a dot, without it; all of them for an empty prefix.
  NamedTensors below(const std::string& prefix) const;
  const Notes& words() const { return words_; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  std::map<std::string, Tensor> tensors_;
  Notes words_;
};

/// The file's weights of a module into its parameters; an empty prefix takes a file that holds nothing else. Throws IoError for one that is
/// missing or unknown, ShapeError, DTypeError; nothing is written unless all fit.
void load_parameters(const Checkpoint& from, const std::string& prefix, const ParameterList& to);

namespace detail {

void put(Checkpoint& to, const std::string& prefix, const ParameterList& parameters);
void put(Checkpoint& to, const std::string& prefix, const optim::OptimizerBase& optimizer);
void put(Checkpoint& to, const std::string& prefix, const Stream& stream);
void put(Checkpoint& to, const std::string& prefix, const Notes& notes);
void check(const Checkpoint& from, const std::string& prefix, const ParameterList& parameters);
void check(const Checkpoint& from, const std::string& prefix, Stream stream);
void restore(const Checkpoint& from, const std::string& prefix, optim::OptimizerBase& optimizer);
void restore(const Checkpoint& from, const std::string& prefix, Stream& stream);
void restore(const Checkpoint& from, const std::string& prefix, Notes& notes);
void put_random(Checkpoint& to);
void check_random(const Checkpoint& from);
void restore_random(const Checkpoint& from);

template <class P>
inline constexpr bool is_optimizer = std::is_base_of_v<optim::OptimizerBase, P>;
template <class P>
inline constexpr bool is_state = !Module<P> && !is_optimizer<P> && !std::is_same_v<P, Stream> && !std::is_same_v<P, Notes>;

template <class P>
constexpr const char* kind() {
  if constexpr (Module<P>)
    return "model";
  else if constexpr (is_optimizer<P>)
    return "optimizer";
  else if constexpr (std::is_same_v<P, Stream>)
    return "stream";
  else if constexpr (std::is_same_v<P, Notes>)
    return "notes";
  else
    return "state";
}

/// Names for pieces: the kind, from the second of a kind on with its number.
class Namer {
 public:
  template <class P>
  std::string next() {
    const int number = ++seen_[kind<P>()];
    return number == 1 ? kind<P>() : kind<P>() + std::to_string(number);
  }

 private:
  std::map<std::string, int> seen_;
};

template <class S>
void put_state(Checkpoint& to, const std::string& prefix, const S& state) {
  std::vector<std::string> names;
  std::vector<Variable> values;
  field_names(state, names);
  flatten(state, values);
  for (std::size_t i = 0; i < names.size(); ++i)
    if (!values[i].empty()) to.put(names[i].empty() ? prefix : prefix + '.' + names[i], values[i].value());
}

/// Fills a struct from the tensors of the file: what is not there stays empty, vectors take the length that they had.
template <class S>
void fill_state(const Checkpoint& from, const std::string& path, S& s) {
  using namespace rw::detail;
  if constexpr (std::is_same_v<S, Variable>) {
    s = from.has(path) ? Variable(from.tensor(path)) : Variable();
  } else if constexpr (requires { s.resize(0); }) {
    s.clear();
    for (std::string name = join(path, "0"); from.has(name) || from.has_below(name); name = join(path, std::to_string(s.size())))
      fill_state(from, name, s.emplace_back());
  } else if constexpr (is_list<S>) {
    for (std::size_t i = 0; i < s.size(); ++i) fill_state(from, join(path, std::to_string(i)), s[i]);
  } else if constexpr (is_pair<S>) {
    fill_state(from, join(path, "first"), s.first);
    fill_state(from, join(path, "second"), s.second);
  } else {
    constexpr int n = initialisers<S>();
    [&]<int... I>(std::integer_sequence<int, I...>) {
      with_fields<n>(s, [&](auto&... fields) { (fill_state(from, join(path, field_name<S, n, I>()), fields), ...); });
    }
    (std::make_integer_sequence<int, n>{});
  }
}

template <class P>
void put_piece(Checkpoint& to, const std::string& name, const P& piece) {
  if constexpr (Module<P>)
    put(to, name, parameters(piece));
  else if constexpr (is_state<P>)
    put_state(to, name, piece);
  else
    put(to, name, piece);
}
template <class P>
void check_piece(const Checkpoint& from, const std::string& name, const P& piece) {
  if constexpr (Module<P>)
    check(from, name, parameters(piece));
  else if constexpr (std::is_same_v<P, Stream>)
    check(from, name, piece);
}
template <class P>
void restore_piece(const Checkpoint& from, const std::string& name, P& piece) {
  if constexpr (Module<P>)
    load_parameters(from, name, parameters(piece));
  else if constexpr (is_state<P>)
    fill_state(from, name, piece);
  else if constexpr (!is_optimizer<P>)
    restore(from, name, piece);
}
template <class P>
void restore_optimizer(const Checkpoint& from, const std::string& name, P& piece) {
  if constexpr (is_optimizer<P>) restore(from, name, piece);
}

}  // namespace detail

/// Writes the pieces and this thread's generator to one file. Throws IoError; the old file is whole then.
template <class... P>
void save(const std::string& path, const P&... pieces) {
  Checkpoint file;
  detail::Namer names;
  (detail::put_piece(file, names.next<P>(), pieces), ...);
  detail::put_random(file);
  file.write(path);
}

/// Reads them back. Throws IoError, ShapeError, DTypeError, ValueError naming the path if the file is not of these pieces; then nothing has
/// been changed (a second optimizer that does not fit may find the first one restored).
template <class... P>
void load(const std::string& path, P&... pieces) {
  const Checkpoint file = Checkpoint::read(path);
  {
    detail::Namer names;
    (detail::check_piece(file, names.next<P>(), pieces), ...);
    detail::check_random(file);
  }
  {
    detail::Namer names;
    (detail::restore_optimizer(file, names.next<P>(), pieces), ...);
  }
  detail::Namer names;
  (detail::restore_piece(file, names.next<P>(), pieces), ...);
  detail::restore_random(file);
}

}  // namespace rw::train
