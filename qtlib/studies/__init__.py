"""What the notebooks measure over many models or designs; a module for each study, and a command for each committed table.

precision_studies  study_tables  study_losses     what bits cost: data/study_*.csv
tensor_sensitivity  input_disturbances  table_precision     one trained model, looked at closely
uniform_widths                                    every size at every width: error, clocks and cells
deployability  published_shapes  placement        which shapes fit, built and counted, and their clock
cell_counts  coefficient_fit                      what the estimate was fitted to, and fits of a user's own
random_designs  verification                      many designs, checked in every bit
benchmark                                         how fast all of it is
"""
