// The program custom_cell, run as a person runs it.
#include <sys/wait.h>

#include <cstdlib>

#include "../support.hpp"

TEST_CASE("custom_cell: the user's own cell learns to add") {
  FILE* pipe = ::popen(REWIND_CUSTOM_CELL " 2>&1 < /dev/null", "r");
  REQUIRE(pipe != nullptr);
  std::string output;
  char buffer[4096];
  while (std::size_t got = std::fread(buffer, 1, sizeof buffer, pipe)) output.append(buffer, got);
  const int status = ::pclose(pipe);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
  CHECK_MESSAGE(output.find("\nfinal mse=0.0") != std::string::npos, output);
}
