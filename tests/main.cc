// The one place where Catch2's runner is compiled (18 s of CPU): every test
// program links this object.
#define CATCH_CONFIG_MAIN
#include <catch2/catch.hpp>
