"""Names that other libraries have for our options, so that an error can state ours; the first that exists is meant."""

_OURS = {
    ("lr",): "learning_rate step_size",
    ("steps",): "num_steps max_steps n_steps train_steps training_steps num_training_steps iterations num_iterations "
    "n_iterations n_iter max_iter",
    ("epochs",): "num_epochs n_epochs max_epochs num_train_epochs train_epochs",
    ("minutes",): "budget time max_time seconds hours",
    ("seed",): "random_state random_seed",
    ("progress",): "verbose quiet silent progress_bar",
    ("out",): "out_dir outdir output output_dir save_dir path folder",
    ("device",): "accelerator gpu cuda",
    ("condition",): "labels y cond context conditions",
    ("weight",): "sample_weight sample_weights weights",
    ("layers", "flow_steps", "depth", "blocks"): "num_layers n_layers n_layer transforms num_transforms n_transforms "
    "n_flows num_flows num_blocks n_blocks couplings",
    ("width",): "hidden hidden_dim hidden_dims hidden_size hidden_units hidden_features n_hidden n_embd d_model "
    "channels model_channels base_channels units",
    ("latent",): "latent_dim latent_dims latent_size z_dim zdim nz n_latent code_size",
    ("components", "states"): "n_components num_components n_clusters mixtures n_mixtures",
    ("bins",): "num_bins n_bins",
    ("batch_size",): "batch batchsize train_batch_size bs",
    ("weight_decay",): "wd",
    ("heads",): "n_head n_heads num_heads nhead",
    ("dropout",): "dropout_rate dropout_p p_dropout",
    ("length",): "block_size context_length seq_len seq_length max_length sequence_length",
    ("sampler",): "scheduler solver",
    ("sampler_steps", "steps"): "num_inference_steps timesteps num_timesteps sampling_steps inference_steps nfe "
    "diffusion_steps",
    ("guidance",): "guidance_scale cfg cfg_scale",
    ("temperature",): "temp",
    ("simulations",): "num_simulations n_simulations num_sims n_sims simulation_budget",
    ("rounds",): "num_rounds n_rounds",
    ("workers",): "num_workers n_workers n_jobs num_processes",
    ("embedding",): "embedding_net embedding_network summary_network summary_net summary",
    ("observation",): "x_o x_obs observed observations",
    ("model",): "density_estimator",
    ("draws", "n"): "num_samples n_samples num_draws n_draws sample_shape num_rows",
    ("operator",): "physics forward_operator forward_model",
    ("noise",): "sigma noise_level sigma_y",
}
ELSEWHERE = {theirs: ours for ours, names in _OURS.items() for theirs in names.split()}
