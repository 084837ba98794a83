// The pages of the program's own libraries.
#pragma once

namespace runner {

// Gives back the pages of libraries that are as in their files. What start-up and loading touched, and training does
// not, is a good part of them; the rest is mapped again when it is touched.
void drop_library_pages();

}  // namespace runner
