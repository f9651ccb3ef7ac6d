// A profile of plans as a table, each kind of step beside what bounds it.
//
//   train::ProfileAtEnd profile(wanted);  // in main: the table of all that follows, when the block ends
#pragma once

#include <cstdio>
#include <rewind/autograd/profile.hpp>
#include <string>

namespace rw::train {

/// What bounds a step on this machine, with the team as it is.
struct ProfileBounds {
  double flops = 0;  ///< f32 operations a second of independent multiply-adds; f64 has half
  double bytes = 0;  ///< read and written a second by copying blocks that no cache holds
};
/// Takes about half a second, and memory of twice what the last cache holds, 512 MiB at most.
ProfileBounds measure_profile_bounds();

/// A row a kind and shape, longest first: calls, milliseconds, share of the time of plans, GF/s of products, GB/s, and the bound: whichever
/// of arithmetic and memory takes longer for its operations and bytes, and how much of it is reached; above 1 beside memory says that the
/// operands came from a cache. What is less than 1/400 of the time stands together in one row. "" if no plan ran.
std::string profile_table(const Profile& profile, const ProfileBounds& bounds);

/// Whether a profile is asked for: by the program's option, or by the environment, REWIND_PROFILE=1.
bool profile_wanted(bool option);

/// Takes a profile from here to the end of the block and prints its table there, if it is wanted (see profile_wanted).
class ProfileAtEnd {
 public:
  explicit ProfileAtEnd(bool option = false, std::FILE* to = stderr);
  ProfileAtEnd(const ProfileAtEnd&) = delete;
  ~ProfileAtEnd();

 private:
  std::FILE* to_ = nullptr;
};

}  // namespace rw::train
