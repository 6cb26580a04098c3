from hypothesis import settings

# A test that is slow because the machine is busy has not failed; pytest's own time limit holds.
settings.register_profile("project", deadline=None)
settings.load_profile("project")
