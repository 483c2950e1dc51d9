"""What makes and checks the machine that the pipeline runs on."""
