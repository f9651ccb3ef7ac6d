#include <signal.h>
#include <rewind/train/interrupt.hpp>

namespace rw::train {

namespace {

volatile sig_atomic_t flag = 0;
int guards = 0;
struct sigaction before_interrupt, before_terminate;

}  // namespace

Interrupt::Interrupt() {
  if (guards++ > 0) return;
  flag = 0;
  struct sigaction action {};
  action.sa_handler = [](int) { flag = 1; };
  action.sa_flags = static_cast<int>(SA_RESETHAND) | SA_RESTART;
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, &before_interrupt);
  sigaction(SIGTERM, &action, &before_terminate);
}

Interrupt::~Interrupt() {
  if (--guards > 0) return;
  sigaction(SIGINT, &before_interrupt, nullptr);
  sigaction(SIGTERM, &before_terminate, nullptr);
}

bool Interrupt::requested() { return flag != 0; }

}  // namespace rw::train
