#include "cmd/app.h"

int main(int argc, char** argv) { return surcoat::cmd::run_program(argc, argv); }
