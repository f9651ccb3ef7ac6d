// The word that somebody probably meant.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace rw::train {

/// Insertions, deletions, replacements and exchanges of neighbours that turn a into b (optimal string alignment).
int edit_distance(std::string_view a, std::string_view b);

/// The candidate nearest to `word`, the first of equals; empty if none is within a third of the word's length, at least 2 edits.
std::string nearest(std::string_view word, std::span<const std::string> candidates);

}  // namespace rw::train
