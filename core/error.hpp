// The errors of Rewind: one base, one type a kind of mistake. Messages read `op: rule broken: what was got (what to do)`.
#pragma once

#include <stdexcept>
#include <string>

namespace rw {

/// Base of everything that the library throws.
class Error : public std::runtime_error {
 public:
  explicit Error(const std::string& message) : std::runtime_error(message) {}
};

/// Shapes that do not fit each other or the operation.
class ShapeError : public Error {
  using Error::Error;
};

/// A dtype that the operation does not take.
class DTypeError : public Error {
  using Error::Error;
};

/// A value out of its range: an option, an index, a number that is not finite.
class ValueError : public Error {
  using Error::Error;
};

/// A use of the tape that its semantics exclude: a released history, a variable that escaped a scan, another thread's variable.
class TapeError : public Error {
  using Error::Error;
};

/// A file that is missing, damaged, or cannot be written.
class IoError : public Error {
  using Error::Error;
};

}  // namespace rw
