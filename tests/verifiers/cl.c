/* A cl.exe for wine: hands its arguments to cl.py, which is a Unix program. Wine starts such a program but cannot wait
   for it, so that its exit code comes back in a file. PYTHON and SCRIPT are set when this is compiled. */
#include <stdio.h>
#include <string.h>
#include <windows.h>

#define EXIT_FILE "cl-exit"

int main(void) {
    static char line[32768];
    const char *words = GetCommandLineA();
    words = *words == '"' ? strchr(words + 1, '"') + 1 : words + strcspn(words, " ");
    snprintf(line, sizeof line, "python %s%s", SCRIPT, words);
    DeleteFileA(EXIT_FILE);
    SetEnvironmentVariableA("CL_EXIT_FILE", EXIT_FILE);
    STARTUPINFOA start = {.cb = sizeof start, .dwFlags = STARTF_USESTDHANDLES};
    start.hStdInput = GetStdHandle(STD_INPUT_HANDLE);
    start.hStdOutput = GetStdHandle(STD_OUTPUT_HANDLE);
    start.hStdError = GetStdHandle(STD_ERROR_HANDLE);
    PROCESS_INFORMATION started;
    if (!CreateProcessA(PYTHON, line, NULL, NULL, TRUE, 0, NULL, NULL, &start, &started)) {
        printf("cl : cannot start %s: error %lu\n", PYTHON, GetLastError());
        return 1;
    }
    for (;;) {
        int code;
        FILE *file = fopen(EXIT_FILE, "r");
        if (file) {
            int found = fscanf(file, "%d", &code);
            fclose(file);
            if (found == 1) return code;
        }
        Sleep(20);
    }
}
