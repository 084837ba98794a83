// The pages of the program's own libraries.
#pragma once

namespace runner {

// Gives back the pages of libraries that are the same as in their files. A good part of them was touched by start-up
// and loading and is not needed for training; the rest is mapped again when it is touched.
void drop_library_pages();

}  // namespace runner
