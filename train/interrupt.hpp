// Ending a run cleanly: the first SIGINT or SIGTERM is noted, a second one ends the program at once.
#pragma once

namespace rw::train {

/// While one lives, SIGINT and SIGTERM set a flag instead of ending the process. There is one flag a process; the last guard to go restores
/// what the signals did before.
class [[nodiscard]] Interrupt {
 public:
  Interrupt();
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  /// Whether a signal has come since the first living guard was made.
  static bool requested();
};

}  // namespace rw::train
