"""Two optimizers that Keras' trainers and callbacks see as one."""

import keras


class OptimizerPair(keras.optimizers.Optimizer):
    """The discriminator's and the generator's optimizer behind the face of a single one.

    Learning-rate callbacks look at `optimizers` from Keras 3.15 on, before at `learning_rate`:
    setting the generator's scales the discriminator's by the same factor.
    """

    def __init__(self, discriminator, generator, networks):
        super().__init__(learning_rate=0.0, name="optimizer_pair")
        if discriminator is generator:
            kind = type(generator).__name__
            raise ValueError(f"The optimizers must be two objects. Received: one {kind} for both")
        for name, network in zip(("discriminator", "generator"), networks, strict=True):
            if not network.trainable_variables:
                raise ValueError(f"Nothing to train: set `{name}.trainable = True`.")
        # Learning-rate callbacks log by optimizer name: two Adams would share one column.
        discriminator.name, generator.name = "discriminator", "generator"
        self.optimizers = [discriminator, generator]
        self.networks = networks

    discriminator = property(lambda self: self.optimizers[0])
    generator = property(lambda self: self.optimizers[1])

    def build(self, variables=None):
        for optimizer, network in zip(self.optimizers, self.networks, strict=True):
            if not optimizer.built:
                optimizer.build(network.trainable_variables)
        self.built = True

    @property
    def variables(self):
        return [variable for optimizer in self.optimizers for variable in optimizer.variables]

    iterations = property(lambda self: self.generator.iterations)

    @property
    def learning_rate(self):
        return self.generator.learning_rate

    @learning_rate.setter
    def learning_rate(self, value):
        rates = [float(keras.ops.convert_to_numpy(o.learning_rate)) for o in self.optimizers]
        self.generator.learning_rate = value
        self.discriminator.learning_rate = value * rates[0] / rates[1] if rates[1] else value

    def finalize_variable_values(self, var_list):
        for optimizer, network in zip(self.optimizers, self.networks, strict=True):
            optimizer.finalize_variable_values(network.trainable_variables)

    def save_own_variables(self, store):
        pass  # the saver walks into `optimizers` by itself

    load_own_variables = save_own_variables
